//! Tests on a real cluster, by topic. Each test has a namespace of its own.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod cert_manager;
mod certificates;
mod chart;
mod configuration;
mod dataplane;
mod injection;
mod leader;
mod lifecycle;
mod other_webhook;
mod rbac;
mod rollout;
mod scale;
mod webhook;
