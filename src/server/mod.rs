//! Wiring: builds the parts, starts worker threads, owns start, reload, drain and stop.
