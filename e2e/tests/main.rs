//! Tests on a real cluster, by topic. Each test has a namespace of its own. The chart is installed as it comes: where the API server can
//! inject by itself, it does. Tests of the webhook are a program of their own, in `webhook/`.

#![allow(clippy::unwrap_used, reason = "these are tests")]


mod chart;
mod cost;
mod dataplane;
mod injection;
mod lifecycle;
mod other_webhook;
mod policy;
mod rbac;
mod rights;
mod rollout;
mod upgrade;

use framebuffer_e2e::{alone, in_namespace};
