//! Apache Mesos and DC/OS: the v1 operator API's event stream.

pub mod wire;
