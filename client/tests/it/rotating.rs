//! Credentials from the program that change.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use posthouse_client::{
    AccessToken, Client, ConnectError, Context, ContextBuilder, ContextError, Error, ErrorKind, TlsMaterial,
};
use tonic::Code;

use crate::{
    eventually,
    fake::{Fake, Order, QUEUE, refusal},
    within,
};

fn builder(fake: &Fake) -> ContextBuilder {
    let path = fake.pki.path();
    Context::builder()
        .endpoint(fake.wire.endpoint())
        .server_name("localhost")
        .authority(path.join("ca.pem"))
        .certificate(path.join("client.pem"))
        .key(path.join("client.key"))
        .token_file(path.join("token"))
        .tenant("t")
}

fn material(fake: &Fake) -> TlsMaterial {
    let read = |name: &str| fs::read(fake.pki.path().join(name)).unwrap();
    TlsMaterial::from_pem(read("ca.pem"), read("client.pem"), read("client.key"))
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_refused() {
    let fake = Fake::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let context = builder(&fake).token_source(move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(AccessToken::new(if number == 0 { "good-token" } else { "next-token" })) }
    });
    let client = Client::connect(context.build().unwrap()).await.unwrap();
    for _ in 0..5 {
        client.queues().list("d").await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    fake.records().token = "next-token".to_owned();
    client.queues().list("d").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_source_that_fails_for_a_while_is_waited_for() {
    let fake = Fake::start().await;
    let away = Arc::new(AtomicBool::new(false));
    let failures = Arc::new(AtomicUsize::new(0));
    let (is_away, failed) = (Arc::clone(&away), Arc::clone(&failures));
    let context =
        builder(&fake).token_source(move || {
            let fails = is_away.load(Ordering::SeqCst);
            failed.fetch_add(usize::from(fails), Ordering::SeqCst);
            async move {
                if fails { Err("the issuer is away".into()) } else { Ok(AccessToken::new("good-token")) }
            }
        });
    let client = Client::connect(context.build().unwrap()).await.unwrap();
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    away.store(true, Ordering::SeqCst);
    // The server refuses the token, and the source has no other.
    fake.records().token = "none".to_owned();
    fake.wire.cut();
    let ack = publisher.publish("x").await.unwrap();
    eventually("the source fails", || failures.load(Ordering::SeqCst) >= 2).await;
    let error = client.queues().list("d").await.unwrap_err();
    let Error::Connect(ConnectError::Context(ContextError::Source { what: "token", .. })) = &error else {
        panic!("{error:?}")
    };
    assert!(error.is_retryable() && error.to_string().contains("the issuer is away"), "{error}");
    fake.records().token.clear();
    away.store(false, Ordering::SeqCst);
    within("the message is stored", ack).await.unwrap();
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn an_open_stream_learns_the_next_token() {
    let fake = Fake::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The first token is valid for a second.
    let context = builder(&fake).token_source(move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let token = AccessToken::new(if number == 0 { "good-token" } else { "next-token" });
            let life = Duration::from_secs(if number == 0 { 1 } else { 3600 });
            Ok(token.expires_at(SystemTime::now() + life))
        }
    });
    let client = Client::connect(context.build().unwrap()).await.unwrap();
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    fake.records().token = "next-token".to_owned();
    eventually("the stream is told", || fake.records().refreshed == ["next-token"]).await;
    publisher.publish("x").await.unwrap().await.unwrap();
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn certificates_and_key_in_memory_and_from_a_function() {
    let fake = Fake::start().await;
    let context = builder(&fake).tls(material(&fake)).build().unwrap();
    Client::connect(context).await.unwrap().ping().await.unwrap();

    let current = Arc::new(Mutex::new(Ok(material(&fake))));
    let source = Arc::clone(&current);
    let context = builder(&fake).tls_source(move || {
        let current = source.lock().unwrap().clone();
        async move { current.map_err(|words: &str| words.into()) }
    });
    let client = Client::connect(context.build().unwrap()).await.unwrap();
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    // The source fails while the connection is broken; then it returns a new certificate and key.
    *current.lock().unwrap() = Err("the vault is sealed");
    fake.wire.cut();
    let ack = publisher.publish("x").await.unwrap();
    let error = client.publisher(QUEUE).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    fake.pki.write_client_certificate();
    *current.lock().unwrap() = Ok(material(&fake));
    within("the message is stored", ack).await.unwrap();
    publisher.close().await.unwrap();

    let broken = TlsMaterial::from_pem("", "", "SECRET-KEY");
    let error = Client::connect(builder(&fake).tls(broken).build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("authority") && !format!("{error:?}").contains("SECRET"), "{error}");
}

#[tokio::test]
async fn key_files_that_are_replaced_one_after_the_other() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    // For a moment the key and the certificate do not fit.
    let old = fs::read(fake.pki.path().join("client.key")).unwrap();
    fake.pki.write_client_certificate();
    let new = fs::read(fake.pki.path().join("client.key")).unwrap();
    fs::write(fake.pki.path().join("client.key"), old).unwrap();
    fake.order(Order::End(refusal(Code::Unavailable, "SERVER_DRAINING")));
    let ack = publisher.publish("x").await.unwrap();
    let error = client.publisher(QUEUE).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    fs::write(fake.pki.path().join("client.key"), new).unwrap();
    within("the message is stored", ack).await.unwrap();
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn a_call_has_a_deadline() {
    let fake = Fake::start().await;
    let client = Client::builder(fake.context()).call_timeout(Duration::from_millis(100));
    let client = client.connect_timeout(Duration::from_secs(5)).connect().await.unwrap();
    fake.records().slow = true;
    let error = within("the deadline", client.queues().list("d")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    fake.records().slow = false;
    client.queues().list("d").await.unwrap();
}
