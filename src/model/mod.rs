//! Plain types that every room speaks: tasks, agents, services, endpoints. No I/O, no clock.

pub mod actions;
pub mod agent;
pub mod balance;
pub mod check;
pub mod drain;
pub mod edit_distance;
pub mod endpoint;
pub mod framework;
pub mod id;
pub mod intern;
pub mod network;
pub mod password;
pub mod pattern;
pub mod persistent;
pub mod problem;
pub mod refinement;
pub mod reverse;
pub mod ring;
pub mod rules;
pub mod run;
pub mod service;
pub mod sorted;
pub mod task;
pub mod template;
pub mod time;
pub mod weights;
