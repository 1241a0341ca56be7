//! What only the project's own benches look at. Behind the feature `bench-parts`, not documented, and
//! changed without notice.

pub mod contention;
