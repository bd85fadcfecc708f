//! Tests on a real cluster, by topic, each test in a namespace of its own. The chart is installed with its defaults:
//! the API server injects if it can. Tests in webhook mode are a program of their own, in `webhook/`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod channels;
mod chart;
mod cost;
mod dataplane;
mod injection;
mod injection_mode;
mod late_labels;
mod lifecycle;
mod other_webhook;
mod policy;
mod probes;
mod rbac;
mod rights;
mod rollout;
mod status;
mod upgrade;
mod values;

use framebuffer_e2e::{alone, in_namespace};
