//! Inner services: what answers requests without a server.

use crate::reply::Answer;
use http::Head;
use model::StatsPage;
use state::{Generation, Process};
use std::time::Instant;

/// The statistics page.
pub trait StatsPages: Send + Sync {
    /// The answer, or `None` when the request is not for this page.
    fn serve(
        &self,
        page: &StatsPage,
        proxy: &str,
        request: &Head,
        process: &Process,
        generation: &Generation,
        now: Instant,
    ) -> Option<Answer>;
}

/// All inner services.
pub struct Services {
    /// The statistics page.
    pub stats: Box<dyn StatsPages>,
}
