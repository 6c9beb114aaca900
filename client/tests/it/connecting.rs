use std::fs;

use posthouse_client::{Client, ConnectError, Context, ContextError, Error, ErrorKind};

use crate::{
    fake::{Fake, Order, QUEUE, State, serve},
    pki::Pki,
};

#[tokio::test]
async fn pings_over_mutual_tls() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    client.ping().await.unwrap();
    assert_eq!(client.queue_name(QUEUE).unwrap(), "tenants/t/departments/d/queues/q");
    assert_eq!(client.queue_name("Q").unwrap_err().kind(), ErrorKind::InvalidArgument);
    // The client opens a new connection.
    fake.wire.cut();
    client.ping().await.unwrap();
    assert_eq!(fake.wire.accepted(), 2);
}

#[tokio::test]
async fn nobody_at_the_endpoint() {
    let pki = Pki::new();
    let error = Client::connect(pki.context("127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Unreachable { .. })), "{error:?}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn another_authority_or_name_is_not_trusted() {
    let (ours, fake) = (Pki::new(), Fake::start().await);
    let error = Client::connect(ours.context(&fake.wire.endpoint())).await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Handshake { .. })), "{error:?}");

    let path = fake.pki.path().join("context.toml");
    drop(fake.context());
    let text = fs::read_to_string(&path).unwrap().replace("'localhost'", "'elsewhere'");
    fs::write(&path, text).unwrap();
    let error = Client::connect(Context::load(&path).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Handshake { .. })), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    // In TLS 1.3 the handshake of the client ends before the server checks its certificate.
    let (fake, stranger) = (Fake::start().await, Pki::new());
    let context = fake.context();
    for file in ["client.pem", "client.key"] {
        fs::copy(stranger.path().join(file), fake.pki.path().join(file)).unwrap();
    }
    let error = match Client::connect(context).await {
        Ok(client) => client.ping().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    println!("{error}");
}

#[tokio::test]
async fn files_that_are_missing_or_wrong() {
    let fake = Fake::start().await;
    for (file, text) in [("client.key", "nothing"), ("client.pem", ""), ("ca.pem", "x"), ("token", "a b")] {
        let context = fake.context();
        let path = fake.pki.path().join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        let error = Client::connect(context.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{file}: {error}");
        assert!(error.to_string().contains(file), "{error}");
        fs::remove_file(&path).unwrap();
        let error = Client::connect(context).await.unwrap_err();
        let unreadable = Error::Connect(ConnectError::Context(ContextError::Missing("")));
        assert_eq!(error.kind(), unreadable.kind());
        assert!(error.to_string().contains("cannot read"), "{error}");
        fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_renewed_token_and_certificate_are_used() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    client.queues().list("d").await.unwrap();
    fake.records().token = "next-token".to_owned();
    let error = client.queues().list("d").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unauthenticated, Some("TOKEN_EXPIRED")));
    fake.pki.write_client_certificate();
    fake.pki.write_token("next-token");
    client.queues().list("d").await.unwrap();
}

#[tokio::test]
async fn a_stream_is_refreshed_with_the_new_token() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    let consumer = client.consumer(QUEUE).open().await.unwrap();
    fake.records().token = "next-token".to_owned();
    fake.pki.write_token("next-token");
    crate::eventually("both streams have the new token", || fake.records().refreshed.len() == 2).await;
    publisher.publish("still here").await.unwrap().await.unwrap();
    publisher.close().await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(fake.wire.accepted(), 3, "the streams went on");
}

#[tokio::test]
async fn draining_sends_both_streams_elsewhere() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    let consumer = client.consumer(QUEUE).open().await.unwrap();
    let ack = publisher.publish("before").await.unwrap();
    fake.records().leases.put("one");
    let held = consumer.next().await.unwrap().unwrap();

    // A second server has the same records; the connections of the first one are cut.
    let second = serve(&fake.pki, State::clone(&fake.state)).await;
    fake.wire.set_down(true);
    assert_eq!(fake.order(Order::Drain(second.to_string())), 2);
    ack.await.unwrap();
    let stored = publisher.publish("after").await.unwrap().await.unwrap();
    assert_eq!(stored.sequence, Some(2));
    held.ack().await.unwrap();
    assert_eq!(fake.records().leases.acked, [1]);
    publisher.close().await.unwrap();
    consumer.close().await.unwrap();
}
