//! Tests on a real cluster, by topic. Each has a namespace of its own.
