//! Lists of queues: queues without a grant are not shown, and cost nothing.

use posthouse_proto::v1::{ListQueuesRequest, ListQueuesResponse};
use posthouse_tests::harness::{
    scene::{Scene, queue_name},
    wire::Caller,
};

const PARENT: &str = "tenants/civil-affairs/departments/household-registry";

async fn list(caller: &Caller, page_size: i32, page_token: &str) -> ListQueuesResponse {
    let (parent, page_token) = (PARENT.to_owned(), page_token.to_owned());
    let request = caller.request(ListQueuesRequest { parent, page_size, page_token });
    caller.queues().list_queues(request).await.unwrap().into_inner()
}

async fn all(caller: &Caller, page_size: i32) -> (Vec<String>, usize) {
    let (mut names, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(caller, page_size, &token).await;
        pages += 1;
        names.extend(page.queues.into_iter().map(|queue| queue.name));
        if page.next_page_token.is_empty() {
            return (names, pages);
        }
        assert_ne!(token, page.next_page_token, "it does not go on");
        token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_what_is_granted_and_nothing_else() {
    let scene = Scene::start().await;
    let mut every = Vec::new();
    for number in 0..30 {
        every.push(scene.plain_queue(&format!("q{number:02}")).await);
    }
    for size in [1, 7, 30, 1_000] {
        assert_eq!(all(&scene.caller, size).await.0, every);
    }
    // The last one, one in the middle, one that does not exist, and some with a publish grant only.
    let scope = ["stats:civil-affairs/household-registry/q29", "manage:civil-affairs/*/q11"]
        .into_iter()
        .chain(["stats:civil-affairs/household-registry/q17x", "publish:civil-affairs/household-registry/*"])
        .map(|grant| format!("posthouse:{grant}"))
        .collect::<Vec<_>>()
        .join(" ");
    let some = scene.scoped(&scope);
    assert_eq!(all(&some, 100).await, (vec![queue_name("q11"), queue_name("q29")], 1));
    let (names, pages) = all(&some, 1).await;
    assert_eq!(names, [queue_name("q11"), queue_name("q29")]);
    assert!(pages <= 3, "{pages} pages");
    // It is on the first page, however many queues are before it.
    let last = scene.scoped("posthouse:stats:civil-affairs/household-registry/q29");
    assert_eq!(list(&last, 1, "").await.queues.len(), 1);
    assert_eq!(list(&last, 2, "").await.next_page_token, "");
    let none = scene.scoped("posthouse:stats:civil-affairs/household-registry/missing");
    assert_eq!(all(&none, 1).await, (Vec::new(), 1));
}
