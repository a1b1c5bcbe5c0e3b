//! The L7 proxy.
