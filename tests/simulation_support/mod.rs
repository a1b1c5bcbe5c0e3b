//! A cluster, a network and the whole control loop in one thread and virtual time.
//!
//! What is under test is what runs: the source's session with its decoders, the state with guard and deadlines, the
//! builder, the DNS server's answer function, the proxy's route function. What is played: masters, agents, ZooKeeper,
//! connections, time and chance.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod answers;
pub mod checks;
pub mod cluster;
pub mod network;
pub mod seeds;
pub mod world;
