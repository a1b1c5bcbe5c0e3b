//! The embedded cluster: a Mesos-compatible master over loopback HTTP and real little tasks.
