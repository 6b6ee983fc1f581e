//! Tests of retention.

mod artifact_plan;
