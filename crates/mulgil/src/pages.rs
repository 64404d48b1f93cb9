//! The statistics page as the engine wants it.

use http::Head;
use model::StatsPage;
use proxy::{Answer, StatsPages};
use state::{Generation, Process};
use std::time::Instant;

/// What answers for the page.
pub struct Pages;

impl StatsPages for Pages {
    fn serve(
        &self,
        page: &StatsPage,
        proxy: &str,
        request: &Head,
        process: &Process,
        generation: &Generation,
        now: Instant,
    ) -> Option<Answer> {
        let target = String::from_utf8_lossy(request.target());
        let authorization = request
            .get(b"authorization")
            .and_then(|a| std::str::from_utf8(a).ok());
        let page = admin::serve(
            page,
            proxy,
            &target,
            authorization,
            process,
            generation,
            now,
        );
        let mut answer = Answer::error(page.status);
        answer
            .headers
            .push((b"content-type".to_vec(), page.content_type.into()));
        for (name, value) in page.headers {
            answer.headers.push((name.into(), value.into_bytes()));
        }
        answer.body = Some(page.body.into_bytes());
        Some(answer)
    }
}
