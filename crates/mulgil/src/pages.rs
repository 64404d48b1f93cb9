//! The statistics page as the engine wants it.

use admin::Visit;
use proxy::{Answer, StatsPages, StatsRequest};

/// What answers for the page.
pub struct Pages;

impl StatsPages for Pages {
    fn serve(&self, request: &StatsRequest<'_>) -> Answer {
        let target = String::from_utf8_lossy(request.request.target());
        let authorization = request
            .request
            .get(b"authorization")
            .and_then(|a| std::str::from_utf8(a).ok());
        let page = admin::serve(&Visit {
            page: request.page,
            proxy: request.proxy,
            target: &target,
            authorization,
            change: (request.request.method() == b"POST").then_some(request.body),
            admin: request.admin,
            process: request.process,
            generation: request.generation,
            now: request.now,
        });
        let mut answer = Answer::error(page.status);
        answer
            .headers
            .push((b"content-type".to_vec(), page.content_type.into()));
        for (name, value) in page.headers {
            answer.headers.push((name.into(), value.into_bytes()));
        }
        answer.body = Some(page.body.into_bytes());
        answer
    }
}
