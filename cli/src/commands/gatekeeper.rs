//! `phala gatekeeper`: seats, backing, and who the gatekeepers are.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use phala_attestation::Role;
use phala_primitives::{
    GatekeeperId,
    gatekeeper::{Beacon, CeremonyId, EpochId, NetworkKey, SeatStatus, threshold},
};
use phala_sdk::{
    Account, NetworkKeys, amount,
    chain::{Call, Ceremony, Chain, ChainError, Gatekeeper, Seat, Sharing, State, call, seat_id},
    host::Attestation,
};
use serde_json::{Value, json};

use super::{
    find_by_prefix,
    worker::{by_recovery, vendor},
};
use crate::{
    Status, args,
    context::Context,
    output::{Output, facts, short, table},
};

pub(crate) async fn run(command: args::Gatekeeper, context: &Context, output: &Output) -> Status {
    match command {
        args::Gatekeeper::List => list(context, output).await,
        args::Gatekeeper::Status { seat } => seat_status(seat, context, output).await,
        args::Gatekeeper::Register(options) => register(options, context, output).await,
        args::Gatekeeper::Stand { seat } => {
            own(seat, |_| call::stand(seat), "stands in the next elections", context, output).await
        }
        args::Gatekeeper::Leave { seat } => {
            let effect =
                "is given up: it is out at the next election, and its bond comes back after the unbonding period";
            own(seat, |_| call::leave(seat), effect, context, output).await
        }
        args::Gatekeeper::Withdraw { seat } => {
            own(seat, call::withdraw_seat, "is gone, and what was left of its bond is free", context, output).await
        }
        args::Gatekeeper::Back { seats, amount } => back(seats, amount, context, output).await,
        args::Gatekeeper::StopBacking => {
            let text =
                |account| format!("{account} backs no seat any more; its PHA is free after the unbonding period.");
            submit(|_| call::stop_backing(), |_| json!({}), text, context, output).await
        }
    }
}

async fn list(context: &Context, output: &Output) -> Status {
    let read = async |state: &State| {
        let elected = state.elected().await?;
        let mut gatekeepers: BTreeMap<_, _> = state.gatekeepers().await?.into_iter().collect();
        let mut rows = Vec::new();
        for (id, seat) in state.seats().await? {
            let gatekeeper = gatekeepers.remove(&seat.gatekeeper);
            let backing = state.backing(id).await?;
            let in_set = elected.iter().any(|(elected, _)| *elected == id);
            rows.push((id, seat, gatekeeper, backing, in_set));
        }
        Ok(rows)
    };
    let rows = context.chain().await?.read(read).await?;
    let values: Vec<_> = rows
        .iter()
        .map(|(id, seat, gatekeeper, backing, in_set)| describe(*id, seat, gatekeeper.as_ref(), *backing, *in_set))
        .collect();
    output.result(&values, || {
        if rows.is_empty() {
            return "No seat is registered: the authorities of genesis make blocks.".into();
        }
        let lines = rows.iter().map(|(id, seat, gatekeeper, backing, in_set)| {
            let endpoint =
                gatekeeper.as_ref().map_or("", |record| std::str::from_utf8(&record.endpoint).unwrap_or("?"));
            let is_exposed = gatekeeper.as_ref().is_some_and(|record| record.outlook.is_some());
            let warned = if is_exposed { ", to be updated" } else { "" };
            vec![
                short(&id.to_string()),
                short(&seat.operator.to_string()),
                short(&seat.gatekeeper.to_string()),
                format!("{}{warned}", status(&seat.status)),
                if *in_set { "yes" } else { "no" }.into(),
                amount::format(seat.bond),
                amount::format(*backing),
                gatekeeper.as_ref().map_or_else(String::new, |record| vendor(record.vendor)),
                endpoint.into(),
            ]
        });
        table(&["seat", "operator", "gatekeeper", "status", "in the set", "bond", "backing", "tee", "endpoint"], lines)
    })?;
    Ok(0)
}

fn describe(id: Account, seat: &Seat, gatekeeper: Option<&Gatekeeper>, backing: u128, in_set: bool) -> Value {
    json!({
        "seat": id,
        "operator": seat.operator,
        "index": seat.index,
        "gatekeeper": seat.gatekeeper,
        "status": status(&seat.status),
        "in_set": in_set,
        "bond": seat.bond.to_string(),
        "backing": backing.to_string(),
        "endpoint": gatekeeper.map(|record| String::from_utf8_lossy(&record.endpoint).into_owned()),
        "measurement": gatekeeper.map(|record| format!("0x{}", hex::encode(record.measurement.0))),
        "vendor": gatekeeper.map(|record| record.vendor),
        "family": gatekeeper.map(|record| record.family.to_string()),
        "verdict_expires": gatekeeper.map(|record| record.verdict_expires),
        "outlook": gatekeeper.and_then(|record| record.outlook).map(|outlook| json!({ "from": outlook.from, "tier": outlook.tier })),
    })
}

fn status(status: &SeatStatus) -> &'static str {
    match status {
        SeatStatus::Standing => "standing",
        SeatStatus::Resting => "resting",
        SeatStatus::Leaving(_) => "leaving",
        SeatStatus::Ejected(_) => "ejected",
    }
}

async fn seat_status(index: u16, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let account = context.own_account(&chain).await?;
    let id = seat_id(account, index);
    let read = async |state: &State| {
        let Some(seat) = state.seat(id).await? else { return Ok(None) };
        let now = state.timestamp_ms().await? / 1000;
        let gatekeeper = state.gatekeeper(seat.gatekeeper).await?;
        let (backing, logged) = (state.backing(id).await?, state.logged_releases(seat.gatekeeper).await?);
        let in_set = state.elected().await?.iter().any(|(elected, _)| *elected == id);
        let current = state.current_epoch().await?;
        let mut shares = Vec::new();
        for key in [NetworkKey::Root].into_iter().chain(current.map(NetworkKey::Epoch)) {
            let sharing = state.sharing(key).await?;
            if sharing.is_some_and(|sharing| sharing.players.contains(&seat.gatekeeper)) {
                shares.push(name(key));
            }
        }
        Ok(Some((seat, now, gatekeeper, backing, logged, in_set, shares)))
    };
    let Some((seat, now, gatekeeper, backing, logged, in_set, shares)) = chain.read(read).await? else {
        bail!(
            "{account} has no seat {index}; `phala gatekeeper register` makes one, and so does the gatekeeper's host"
        );
    };
    let mut value = describe(id, &seat, gatekeeper.as_ref(), backing, in_set);
    value["shares"] = json!(shares);
    value["releases"] = logged.into();
    output.result(&value, || {
        let verdict = match gatekeeper.as_ref().map(|record| record.verdict_expires.saturating_sub(now)) {
            None => "none: the enclave is not registered".into(),
            Some(0) => "over".into(),
            Some(left) => format!("ends in {} h {} min", left / 3600, left % 3600 / 60),
        };
        let outlook = match gatekeeper.as_ref().and_then(|record| record.outlook) {
            None => "good".into(),
            Some(outlook) => by_recovery(outlook, now, "refused, and out of the next set"),
        };
        let of = |text: fn(&Gatekeeper) -> String| gatekeeper.as_ref().map_or_else(String::new, text);
        facts(&[
            ("Seat", id.to_string()),
            ("Operator", seat.operator.to_string()),
            ("Status", status(&seat.status).into()),
            ("In the set", if in_set { "yes" } else { "no" }.into()),
            ("Bond", amount::format(seat.bond)),
            ("Backing", amount::format(backing)),
            ("Gatekeeper", seat.gatekeeper.to_string()),
            ("Endpoint", of(|record| String::from_utf8_lossy(&record.endpoint).into_owned())),
            ("TEE", of(|record| format!("{}, {}", vendor(record.vendor), record.family))),
            ("Image", of(|record| format!("0x{}", hex::encode(record.measurement.0)))),
            ("Verdict", verdict),
            ("Outlook", outlook),
            ("Shares of", if shares.is_empty() { "no key".into() } else { shares.join(", ") }),
            ("Key releases", format!("{logged} are on chain")),
        ])
    })?;
    Ok(0)
}

async fn register(options: args::RegisterGatekeeper, context: &Context, output: &Output) -> Status {
    let args::RegisterGatekeeper { host, bond, seat: index, session_keys_of, endpoint } = options;
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    let account = signer.account();
    output.progress("Asking the host for fresh evidence …");
    let host = context.hosts()?.at(&host)?;
    let Attestation { statement, evidence, endpoint: said } = host.attestation().await?;
    if statement.role != Role::Gatekeeper {
        bail!("the host has a worker's enclave; register it with `phala worker register`");
    }
    if statement.genesis_hash != chain.genesis_hash() {
        bail!("the host's enclave follows another chain than the node at {}", chain.url());
    }
    if statement.operator != account.0 {
        let operator = Account(statement.operator);
        bail!("the enclave works for {operator}, not for {account}; start its host with --operator {account}");
    }
    let (id, gatekeeper) = (seat_id(account, index), GatekeeperId(statement.signing_key));
    let endpoint = endpoint.or(said).unwrap_or_else(|| host.url().into());
    let (call, action) = match chain.read(async |state| state.seat(id).await).await? {
        Some(seat) if seat.gatekeeper == gatekeeper => (call::renew_gatekeeper(statement, evidence), "renewed"),
        Some(_) => (call::replace_gatekeeper(index, statement, evidence, &endpoint), "given another enclave"),
        None => {
            output.progress("Asking the gatekeeper's node for session keys …");
            let node = match &session_keys_of {
                Some(url) => Chain::connect(url).await.with_context(|| format!("cannot use the node at {url}"))?,
                None => chain.clone(),
            };
            let keys = node.make_session_keys(id).await.with_context(|| {
                format!(
                    "the node at {} makes no session keys; start it with --rpc-methods unsafe, reachable for you alone",
                    node.url()
                )
            })?;
            (call::register_gatekeeper(index, bond, statement, evidence, &endpoint, keys), "registered")
        }
    };
    output.progress("Registering …");
    let included = chain.submit(&signer, call).await?;
    let value = json!({
        "seat": id,
        "index": index,
        "gatekeeper": gatekeeper,
        "action": action,
        "endpoint": endpoint,
        "block": included.block.number,
        "fee": amount::format_number(included.fee),
    });
    output.result(&value, || {
        let fee = amount::format(included.fee);
        format!("Seat {index} of {account} ({id}) is {action}, in block {} (fee {fee}).", included.block.number)
    })?;
    Ok(0)
}

/// The name of a network key.
fn name(key: NetworkKey) -> String {
    match key {
        NetworkKey::Root => "root".to_owned(),
        NetworkKey::Epoch(epoch) => format!("epoch {epoch}"),
    }
}

/// Does something with one of the signer's seats.
async fn own(
    index: u16,
    call: impl FnOnce(Account) -> Call,
    effect: &str,
    context: &Context,
    output: &Output,
) -> Status {
    let seat = |account| seat_id(account, index);
    submit(
        |account| call(seat(account)),
        |account| json!({ "seat": seat(account), "index": index, "effect": effect }),
        |account| format!("Seat {index} of {account} ({}) {effect}.", seat(account)),
        context,
        output,
    )
    .await
}

async fn back(mut seats: Vec<Account>, amount: u128, context: &Context, output: &Output) -> Status {
    seats.sort_unstable_by_key(|seat| seat.0);
    seats.dedup();
    submit(
        |_| call::back(&seats, amount),
        |_| json!({ "seats": seats, "amount": amount.to_string() }),
        |account| format!("{} of {account} back {} seats.", amount::format(amount), seats.len()),
        context,
        output,
    )
    .await
}

/// Submits a call of the signer's, and tells what came of it: `value` with the block, or `text`.
async fn submit(
    call: impl FnOnce(Account) -> Call,
    value: impl FnOnce(Account) -> Value,
    text: impl FnOnce(Account) -> String,
    context: &Context,
    output: &Output,
) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    let account = signer.account();
    output.progress("Submitting …");
    let included = chain.submit(&signer, call(account)).await?;
    let mut value = value(account);
    value["block"] = included.block.number.into();
    output.result(&value, || text(account))?;
    Ok(0)
}

/// Finality that is further behind than half a minute stands.
const MAX_BEHIND: u32 = 15;

/// A gatekeeper by its id, or by the beginning of it.
pub(crate) async fn find(chain: &Chain, text: &str) -> anyhow::Result<GatekeeperId> {
    let gatekeepers = chain.read(async |state| state.gatekeepers().await).await?;
    let (id, _) = find_by_prefix(gatekeepers, |(id, _)| id.0, text, ("gatekeeper", "phala gatekeeper list"))?;
    Ok(id)
}

/// What the chain has of the network's keys, in one block.
struct OnChain {
    block: u32,
    era: u32,
    elected: Vec<(Account, GatekeeperId)>,
    current: Option<EpochId>,
    sharings: Vec<(NetworkKey, Sharing)>,
    ceremonies: Vec<(CeremonyId, Ceremony)>,
    beacon: Option<Beacon>,
    stalled: bool,
    releases: Vec<(GatekeeperId, u64)>,
}

async fn on_chain(state: &State) -> Result<OnChain, ChainError> {
    let (oldest, current) = (state.oldest_epoch().await?, state.current_epoch().await?);
    let epochs = current.into_iter().flat_map(|current| oldest..=current).map(NetworkKey::Epoch);
    let mut sharings = Vec::new();
    for key in [NetworkKey::Root].into_iter().chain(epochs) {
        sharings.extend(state.sharing(key).await?.map(|sharing| (key, sharing)));
    }
    let elected = state.elected().await?;
    let mut releases = Vec::new();
    for (_, gatekeeper) in &elected {
        releases.push((*gatekeeper, state.logged_releases(*gatekeeper).await?));
    }
    Ok(OnChain {
        block: state.block().number,
        era: state.era().await?,
        elected,
        current,
        sharings,
        ceremonies: state.running_ceremonies().await?,
        beacon: state.latest_beacon().await?,
        stalled: state.beacon_stalled().await?,
        releases,
    })
}

/// `phala network keys`.
pub(crate) async fn keys(context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let input_key = NetworkKeys::read(&chain).await?;
    let finalized = chain.finalized().await?.block().number;
    let OnChain { block, era, elected, current, sharings, ceremonies, beacon, stalled, releases } =
        chain.read(on_chain).await?;
    let by_beacon = sharings.iter().any(|(key, _)| *key == NetworkKey::Root);
    let count = |players: &[phala_primitives::GatekeeperId]| u32::try_from(players.len()).unwrap_or(u32::MAX);
    let value = json!({
        "block": block,
        "finalized_block": finalized,
        "era": era,
        "set": elected.iter().map(|(seat, gatekeeper)| json!({"seat": seat, "gatekeeper": gatekeeper})).collect::<Vec<_>>(),
        "keys": sharings.iter().map(|(key, sharing)| json!({
            "key": name(*key),
            "public_key": sharing.public_key.to_string(),
            "ceremony": sharing.ceremony,
            "gatekeepers": sharing.players,
            "threshold": threshold(count(&sharing.players)),
            "since": sharing.since,
        })).collect::<Vec<_>>(),
        "current_epoch": current,
        "input_key": input_key,
        "ceremonies": ceremonies.iter().map(|(id, ceremony)| json!({
            "ceremony": id,
            "key": name(ceremony.key),
            "attempt": ceremony.attempt,
            "phase": ceremony.phase,
            "phase_ends": ceremony.phase_ends,
            "gatekeepers": ceremony.players,
        })).collect::<Vec<_>>(),
        "beacon": {
            "round": beacon.map(|beacon| beacon.round),
            "stalled": stalled,
        },
        "jobs_drawn_by": if by_beacon { "beacon" } else { "authors" },
        "releases": releases.iter().map(|(id, count)| json!({"gatekeeper": id, "logged": count})).collect::<Vec<_>>(),
    });
    output.result(&value, || {
        let mut text = match elected.len() {
            0 => "No set of gatekeepers is elected yet: the authorities of genesis make blocks.\n".to_owned(),
            count => format!("Era {era}: {count} gatekeepers.\n"),
        };
        let behind = block.saturating_sub(finalized);
        if behind > MAX_BEHIND {
            text.push_str(&format!(
                "Finality stands at block {finalized}, {behind} blocks behind the newest: too few of them vote. Nothing of what came \
                 since is certain, and no job goes on.\n"
            ));
        }
        text.push('\n');
        if sharings.is_empty() {
            text.push_str("The network has no keys yet.\n");
        } else {
            let rows = sharings.iter().map(|(key, sharing)| {
                let players = count(&sharing.players);
                vec![
                    name(*key),
                    short(&sharing.public_key.to_string()),
                    format!("{} of {players}", threshold(players)),
                    sharing.since.to_string(),
                ]
            });
            text.push_str(&table(&["key", "public key", "needed", "shared since block"], rows));
            text.push('\n');
        }
        if let Some(keys) = &input_key {
            text.push_str(&format!(
                "Inputs are encrypted under the key of epoch {}. What is encrypted now can be used until block {} at least.\n",
                keys.epoch, keys.usable_until_block
            ));
        }
        for (id, ceremony) in &ceremonies {
            let phase = format!("{:?}", ceremony.phase).to_lowercase();
            text.push_str(&format!(
                "Ceremony {id}: {}, attempt {}, in phase `{phase}` until block {} at most\n",
                name(ceremony.key),
                ceremony.attempt,
                ceremony.phase_ends
            ));
        }
        text.push_str(&match (beacon, stalled) {
            (None, _) => "No round of the random beacon yet.".to_owned(),
            (Some(beacon), true) => format!("The random beacon has stalled after round {}.", beacon.round),
            (Some(beacon), false) => format!("The random beacon is at round {}.", beacon.round),
        });
        text.push_str(if by_beacon {
            "\nJobs are drawn by the random beacon."
        } else {
            "\nJobs are drawn by the verifiable random output of blocks' authors, until there is a root key."
        });
        text
    })?;
    Ok(0)
}
