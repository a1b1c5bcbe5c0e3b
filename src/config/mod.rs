//! The configuration: a TOML file, checked into the form the program runs on.

pub mod checked;

pub use checked::Config;
