//! Every attack of `make attack` for a moment: the server's memory stays bounded, connections that flood are closed,
//! and a neighbour is served all the time.

mod floods;
mod holds;
mod slots;

use std::time::Duration;

use posthouse_proto::v1::SettleAction;
use posthouse_tests::{
    attack::{self, Attack, Counts, Target},
    harness::{
        PATIENCE, process,
        scene::{LONG, Scene, settlement, text},
        site::Site,
    },
};

/// How long an attack lasts.
const MOMENT: Duration = Duration::from_millis(1_300);
/// How many messages the neighbour sends and receives meanwhile.
const ROUNDS: usize = 3;

/// A server with an attacker and a neighbour.
struct Ring {
    scene: Scene,
    target: Target,
    queue: String,
}

impl Ring {
    async fn start() -> Self {
        Self::on(Site::new()).await
    }

    async fn on(site: Site) -> Self {
        attack::add_rsa_key(&site);
        let scene = Scene::on(site).await;
        let queue = scene.plain_queue("neighbour").await;
        let seed = rand::random();
        println!("seed {seed}");
        let target = Target::of(&scene.site, seed);
        Self { scene, target, queue }
    }

    fn pid(&self) -> u32 {
        self.scene.server.pid()
    }

    /// Runs the attack for `moment`, or for as long as the neighbour needs for its messages; returns its counts and the
    /// server's peak memory.
    async fn endure(&self, attack: &Attack, connections: usize, moment: Duration) -> (Counts, u64) {
        attack::prepare(&self.scene.site, &self.target, attack.prepare).await;
        process::forget_peak(self.pid());
        let target = self.target.afresh();
        let running = attack::begin(attack, &target, connections);
        let served = tokio::time::timeout(PATIENCE, self.neighbour());
        let (served, ()) = tokio::join!(served, tokio::time::sleep(moment));
        assert!(served.is_ok(), "{}: the neighbour is not served", attack.name);
        let (counts, peak) = (target.tally.counts(), process::peak_memory(self.pid()));
        drop(running);
        println!("{:<26} {:4} MiB, {:9} done, {}", attack.name, peak >> 20, counts.done, counts.ends());
        // Settlements wait for capacity, and are neither answered nor refused.
        assert!(
            counts.done > 0 || counts.sent > 1 << 20,
            "{}: the attacker did nothing: {counts:?}",
            attack.name
        );
        (counts, peak)
    }

    /// The neighbour's messages are received once, and in order.
    async fn neighbour(&self) {
        for round in 0..ROUNDS {
            let sent = round.to_string();
            self.scene.publish(&self.queue, &[&sent]).await;
            let delivery = self.scene.receive_one(&self.queue, LONG).await;
            assert_eq!(text(&delivery), sent);
            self.scene.settled(&self.queue, settlement(&delivery, SettleAction::Ack)).await;
        }
    }

    /// Fails unless the server is unharmed.
    fn sound(&mut self) {
        assert!(self.scene.server.runs(), "{}", self.scene.server.log());
        let log = self.scene.server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn named(name: &str) -> &'static Attack {
    attack::named(name).unwrap_or_else(|| panic!("there is no attack {name}"))
}
