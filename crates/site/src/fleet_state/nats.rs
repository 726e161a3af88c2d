//! The task that talks to NATS: a bucket of a JetStream key-value store, watched and written.
//!
//! A connection that fails in any way is given up as a whole, and another one begins with all
//! entries anew: so nothing has to be known of what a broken one may have missed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use anycast_fleet::{Credentials, FleetState};
use anycast_steer::clerk::{Revision, Write, WriteError};
use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::{ConnectErrorKind, ConnectOptions, Event as NatsEvent, ServerAddr, jetstream};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nkeys::{KeyPair, KeyPairType};
use tokio::sync::mpsc;

use super::{Event, Order, keys};

/// Between attempts to connect, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// What one step of connecting may take.
const STEP: Duration = Duration::from_secs(2);

/// Keeps a connection until the loop has gone.
pub(super) async fn run(
    settings: FleetState,
    site: String,
    mut orders: mpsc::UnboundedReceiver<Order>,
    events: mpsc::Sender<Event>,
) {
    let mut pause = RETRY.0;
    let myself = identity();
    for generation in 1.. {
        let ended = match Connection::open(&settings, &site, &myself).await {
            Ok(mut connection) => {
                pause = RETRY.0;
                connection.serve(generation, &mut orders, &events).await
            }
            Err(why) => Err(why),
        };
        let Err(why) = ended else { return };
        tracing::debug!("fleet state: {why}");
        if events.send(Event::Disconnected(why)).await.is_err() {
            return;
        }
        let wait = tokio::time::sleep(pause);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                // Of the connection that has gone.
                order = orders.recv() => if order.is_none() { return },
            }
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

struct Connection {
    store: Store,
    watch: jetstream::kv::Watch,
    /// Told when the connection is gone.
    gone: mpsc::Receiver<()>,
    /// What we wrote after the watch began: who is told of it has been told of all before.
    mark: Revision,
    /// The key of what this daemon says of itself, and what it says.
    hello: String,
    myself: String,
}

impl Connection {
    async fn open(settings: &FleetState, site: &str, myself: &str) -> Result<Self, String> {
        let (tell, gone) = mpsc::channel(1);
        let options = options(settings, site).await?.event_callback(move |event| {
            let tell = tell.clone();
            async move {
                if matches!(event, NatsEvent::Disconnected | NatsEvent::Closed) {
                    let _ = tell.try_send(());
                }
            }
        });
        let servers = settings.servers.join(", ");
        let addresses = settings.servers.iter().map(|server| server.parse::<ServerAddr>());
        let addresses = addresses.collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|error| format!("{servers}: {}", chain(&error)))?;
        let client = options.connect(addresses).await;
        let client = client.map_err(|error| {
            let words = format!("cannot connect to {servers}: {}", chain(&error));
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation => format!("{words} {}", shown(settings)),
                _ => words,
            }
        })?;
        let mut context = jetstream::new(client);
        context.set_timeout(STEP);
        let store = bucket(&context, settings).await?;
        let watch = store.watch_with_history(">").await;
        let watch = watch.map_err(|error| format!("cannot watch the bucket: {}", chain(&error)))?;
        let hello = keys::hello(site);
        let mark = store.put(&hello, myself.to_owned().into()).await;
        let mark = mark.map_err(|error| format!("cannot write: {}", chain(&error)))?;
        Ok(Self { store, watch, gone, mark, hello, myself: myself.to_owned() })
    }

    /// Passes everything on until something fails; `Ok`: the loop has gone.
    async fn serve(
        &mut self,
        generation: u64,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), String> {
        let mut writes = FuturesUnordered::new();
        let mut is_current = false;
        let mut twins = BTreeSet::new();
        let too_late = tokio::time::sleep(STEP);
        tokio::pin!(too_late);
        if events.send(Event::Connecting(generation)).await.is_err() {
            return Ok(());
        }
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    None => return Ok(()),
                    Some(Order::Reconnect(which)) if which == generation => {
                        return Err("given up".to_owned());
                    }
                    // Of the connection before.
                    Some(Order::Reconnect(_)) => {}
                    Some(Order::Write(write)) => writes.push(make(&self.store, write)),
                },
                Some((number, result)) = writes.next() => {
                    if events.send(Event::Written(number, result)).await.is_err() {
                        return Ok(());
                    }
                }
                change = self.watch.next() => {
                    let change = change.ok_or("the watch has ended")?;
                    let change = change.map_err(|error| format!("the watch: {}", chain(&error)))?;
                    let value: &[u8] = match change.operation {
                        Operation::Put => &change.value,
                        Operation::Delete | Operation::Purge => &[],
                    };
                    match keys::decode(&change.key, value) {
                        Some(entry) => {
                            if events.send(Event::Entry(change.revision, entry)).await.is_err() {
                                return Ok(());
                            }
                        }
                        None if change.key == self.hello && change.revision > self.mark => {
                            let other = String::from_utf8_lossy(value).into_owned();
                            // Those of a version that says nothing cannot be told apart.
                            if !other.is_empty()
                                && other != self.myself
                                && twins.insert(other.clone())
                            {
                                // It has said so later than we, and does not know of us.
                                let again = self.myself.clone().into();
                                let said = self.store.put(&self.hello, again).await;
                                said.map_err(|error| format!("cannot write: {}", chain(&error)))?;
                                if events.send(Event::Twin(other)).await.is_err() {
                                    return Ok(());
                                }
                            }
                        }
                        None if keys::is_hello(&change.key) => {}
                        None => tracing::warn!("fleet state: {} is not understood", change.key),
                    }
                    if !is_current && change.revision >= self.mark {
                        is_current = true;
                        if events.send(Event::Connected).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                () = &mut too_late, if !is_current => {
                    return Err("the bucket's entries do not come".to_owned());
                }
                _ = self.gone.recv() => return Err("the connection is gone".to_owned()),
            }
        }
    }
}

/// What tells this daemon from another one of the same site.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let unique = RandomState::new().hash_one(0);
    format!("process {} on {} ({unique:016x})", std::process::id(), host.trim())
}

async fn make(store: &Store, write: Write) -> (u64, Result<Revision, WriteError>) {
    let (key, value) = keys::encode(&write.entry);
    let result = match write.expected {
        None => {
            let put = store.put(&key, value.into()).await;
            put.map_err(|error| WriteError::Failed(format!("writing {key}: {}", chain(&error))))
        }
        Some(expected) => {
            let update = store.update(&key, value.into(), expected).await;
            update.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => WriteError::Conflict,
                _ => WriteError::Failed(format!("writing {key}: {}", chain(&error))),
            })
        }
    };
    (write.number, result)
}

/// The bucket, made if there is none.
async fn bucket(context: &jetstream::Context, settings: &FleetState) -> Result<Store, String> {
    let name = &settings.bucket;
    let missing = match context.get_key_value(name).await {
        Ok(store) => return Ok(store),
        Err(error) => chain(&error),
    };
    // As the library makes it, without asking for the account first: what old servers say of that
    // it does not understand.
    let config = Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        description: Some("who announces what, and who may withdraw it".to_owned()),
        max_messages: -1,
        max_messages_per_subject: 1,
        max_bytes: -1,
        max_message_size: -1,
        max_consumers: -1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: settings.replicas.into(),
        ..Config::default()
    };
    // Another site may be faster.
    let made = context.create_stream(config).await;
    context.get_key_value(name).await.map_err(|_| {
        let why = made.err().map_or(missing, |error| chain(&error));
        format!("there is no bucket {name}, and none can be made: {why}")
    })
}

async fn options(settings: &FleetState, site: &str) -> Result<ConnectOptions, String> {
    let mut options = ConnectOptions::new()
        .name(format!("anycast {site}"))
        .connection_timeout(STEP)
        .request_timeout(Some(STEP))
        // The servers of the file, each once: then we begin anew ourselves.
        .max_reconnects(settings.servers.len())
        .reconnect_delay_callback(|_| Duration::ZERO)
        .ignore_discovered_servers()
        .require_tls(settings.tls);
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options = match &settings.credentials {
        None => options,
        Some(Credentials::File(path)) => {
            // To the library the last line has an end.
            let read = options.credentials(&format!("{}\n", secret(path).await?));
            read.map_err(|error| format!("{} is no credentials file: {error}", path.display()))?
        }
        Some(Credentials::Password { user, password_file }) => {
            options.user_and_password(user.clone(), secret(password_file).await?)
        }
        Some(Credentials::Token(path)) => options.token(secret(path).await?),
        Some(Credentials::NkeySeed(path)) => {
            let seed = secret(path).await?;
            // The library would say no more than that it cannot sign.
            let wrong = match KeyPair::from_seed(&seed).map(|pair| pair.key_pair_type()) {
                Ok(KeyPairType::User) => None,
                Ok(_) => Some("it is not a user's, which begins with SU".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = wrong {
                return Err(format!("{} holds no user's NKey seed: {why}", path.display()));
            }
            options.nkey(seed)
        }
    };
    Ok(options)
}

async fn secret(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// As whom a site comes to a server, for the one who has to mend it.
fn shown(settings: &FleetState) -> String {
    match &settings.credentials {
        None => "(nothing in the fleet file says who this site is)".to_owned(),
        Some(shown) => format!("({} {})", shown.key(), shown.file().display()),
    }
}

/// The error and what lies behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = error.source();
    }
    words
}
