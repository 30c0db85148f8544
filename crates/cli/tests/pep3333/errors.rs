//! "Error Handling": whatever is raised ends one request.

use testkit::wait_for;

use crate::{get, project, up};

#[test]
fn whatever_is_raised_ends_one_request_alone() {
    let project = project();
    let running = up(&project);
    let before = running.workers();
    for error in [
        "ValueError",
        "MemoryError",
        "RecursionError",
        "StopIteration",
        "StopAsyncIteration",
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "BaseException",
        "Broken",
    ] {
        for place in ["call", "iteration"] {
            let response = get(&mut running.client(), "raised", &format!("{error} {place}"));
            assert_eq!(response.status, 500, "{error} {place}");
            assert!(response.text().contains("app_exception"), "{error} {place}: {}", response.text());
            assert!(!response.text().contains("on purpose"), "the client is not told: {}", response.text());
            assert_eq!(get(&mut running.client(), "value", "x").text(), "None", "the next request after {error}");
        }
        wait_for(error, || running.out().matches(&format!("{error}: on purpose")).count() >= 1);
    }
    assert_eq!(running.workers(), before, "by the same worker");
}
