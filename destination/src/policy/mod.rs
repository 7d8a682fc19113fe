//! What policies mean, apart from the resources that state them and the messages that carry them.

mod default;

pub use default::{DefaultPolicy, InvalidDefaultPolicy};
