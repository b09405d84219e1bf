//! One module per released WIT track. Each converts at the edge, so that nothing else knows which track a plugin speaks.

pub(crate) mod bounds;
pub(crate) mod v0_1;
