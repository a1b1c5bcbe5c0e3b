//! HTTP API, metrics, service discovery for Prometheus.
