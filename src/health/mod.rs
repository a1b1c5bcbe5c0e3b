//! Active health checks: once a process, on the control runtime; their verdicts reach the writer as events, so that one
//! bad verdict changes the table for names and traffic alike.
//!
//! ```text
//! table → targets → probe (bounded, timed) → streak (rise, fall) → event → writer → table
//! ```
//!
//! Only endpoints of the table are asked: their addresses have been accepted. A new one is out until its first success;
//! one that never succeeded is never served, not even in panic.

pub mod metrics;
pub mod probe;
pub mod run;
pub mod streak;
