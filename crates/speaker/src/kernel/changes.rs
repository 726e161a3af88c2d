//! Changes to the kernel's table: carried out, and what the kernel would not do.

use std::io;
use std::net::IpAddr;

use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::batch::{Answer, BATCH};
use super::table::Change;
use super::{
    Netlink, PATIENCE, Shared, gateway_of, interface_of, is_gone, lookup, with_interface, words,
};

/// What the kernel would not do, and had not refused before.
#[derive(Default)]
pub(super) struct Refusals {
    first: Option<(Change, io::Error)>,
    others: usize,
}

/// Makes some of the kernel's table as wanted, as far as the kernel lets it.
pub(super) async fn carry_out(netlink: &mut Netlink, table: &Shared, refusals: &mut Refusals) {
    let changes = table.lock().take_changes(BATCH);
    let wanted = changes.iter().map(|change| (change.prefix, change.gateways.as_slice()));
    let mut answers = netlink.batches.ask(wanted);
    go_by_routers(netlink, &changes, &mut answers).await;
    let strays = remove_strays(netlink, &changes, &answers);
    let mut table = table.lock();
    for ((change, answer), stray_stays) in changes.into_iter().zip(answers).zip(strays) {
        let (present, refusal) = match of(&change, answer) {
            Answer::Done => (!change.gateways.is_empty(), None),
            Answer::Refused(error) => (stray_stays, Some(error)),
            Answer::Lost(error) => (true, Some(error)),
        };
        let is_news = table.handle_outcome(change.prefix, present, refusal.is_none());
        if let Some(error) = refusal.filter(|_| is_news) {
            refusals.others += usize::from(refusals.first.is_some());
            refusals.first.get_or_insert((change, error));
        }
    }
}

/// The next hop of a neighbor some hops away is on no link of ours: the route takes the way that
/// leads to it (RFC 4271 §9.1.2.1, route resolvability), as it is now.
async fn go_by_routers(netlink: &mut Netlink, changes: &[Change], answers: &mut [Answer]) {
    // One time for all: what must go waits behind them.
    let until = Instant::now() + PATIENCE;
    let mut found: Vec<(&[IpAddr], Option<Vec<IpAddr>>)> = Vec::new();
    // Which of the changes, and which of what was found.
    let (mut again, mut unanswered) = (Vec::new(), Vec::new());
    for (index, (change, answer)) in changes.iter().zip(&*answers).enumerate() {
        let gateways = change.gateways.as_slice();
        if gateways.is_empty() || !is_unreachable(answer) {
            continue;
        }
        let known = found.iter().position(|(of, _)| *of == gateways);
        let known = if let Some(known) = known {
            known
        } else {
            found.push((gateways, routers(&netlink.handle, gateways, until).await));
            found.len() - 1
        };
        match &found[known].1 {
            Some(routers) if routers.is_empty() || routers == gateways => {}
            Some(_) => again.push((index, known)),
            None => unanswered.push(index),
        }
    }
    let requests = again.iter().map(|(index, known)| {
        (changes[*index].prefix, found[*known].1.as_deref().unwrap_or_default())
    });
    for ((index, _), answer) in again.iter().zip(netlink.batches.ask(requests)) {
        answers[*index] = answer;
    }
    // Whether what is there is still right is not known: it stays until the kernel answers.
    for index in unanswered.into_iter().filter(|index| changes[*index].present) {
        answers[index] = Answer::Lost(io::ErrorKind::TimedOut.into());
    }
}

/// What is there in place of what was refused leads where BGP no longer says: worse than no route.
/// Returns of each change whether something stays.
fn remove_strays(netlink: &mut Netlink, changes: &[Change], answers: &[Answer]) -> Vec<bool> {
    let mut stays: Vec<bool> = changes.iter().map(|change| change.present).collect();
    let strays: Vec<usize> = (0..changes.len())
        .filter(|index| {
            let change = &changes[*index];
            let is_refused = matches!(answers[*index], Answer::Refused(_));
            is_refused && change.present && !change.gateways.is_empty()
        })
        .collect();
    let requests = strays.iter().map(|index| (changes[*index].prefix, [].as_slice()));
    for (index, answer) in strays.iter().zip(netlink.batches.ask(requests)) {
        stays[*index] = !matches!(of_removal(answer), Answer::Done);
    }
    stays
}

/// What an answer says of a change.
pub(super) fn of(change: &Change, answer: Answer) -> Answer {
    if change.gateways.is_empty() { of_removal(answer) } else { answer }
}

/// The kernel drops routes by itself when their interface goes down.
fn of_removal(answer: Answer) -> Answer {
    match answer {
        Answer::Refused(error) if is_gone(&error) => Answer::Done,
        answer => answer,
    }
}

/// What the kernel says of a gateway that is on no link; of IPv6 the second, or the third.
fn is_unreachable(answer: &Answer) -> bool {
    let Answer::Refused(error) = answer else { return false };
    let unreachable = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| unreachable.contains(&code))
}

/// The routers on links of ours through which the kernel reaches `addresses`, each once; `None`: it did
/// not say in time.
async fn routers(
    handle: &rtnetlink::Handle,
    addresses: &[IpAddr],
    until: Instant,
) -> Option<Vec<IpAddr>> {
    let mut routers = Vec::new();
    for address in addresses {
        let router = timeout_at(until, next_router(handle, *address)).await.ok()?;
        if let Some(router) = router
            && !routers.contains(&router)
        {
            routers.push(router);
        }
    }
    Some(routers)
}

/// The router on a link of ours through which the kernel reaches `address`, which may be itself.
async fn next_router(handle: &rtnetlink::Handle, address: IpAddr) -> Option<IpAddr> {
    let route = lookup(handle, address).await?;
    let gateway = gateway_of(&route.attributes).unwrap_or(address);
    Some(with_interface(gateway, interface_of(&route.attributes)))
}

impl Refusals {
    /// One line for all of them: a full table would fill the log.
    pub(super) fn log(self) {
        let Some((Change { prefix, gateways, .. }, error)) = self.first else { return };
        let advice = match error.raw_os_error() {
            Some(libc::EPERM) => " (that needs the capability CAP_NET_ADMIN)",
            _ => "",
        };
        let what = if gateways.is_empty() {
            format!("remove the route {prefix} from")
        } else {
            let gateways: Vec<String> = gateways.iter().map(|it| words(*it)).collect();
            format!("put the route {prefix} via {} in", gateways.join(" and "))
        };
        let others = match self.others {
            0 => String::new(),
            n => format!(", nor do so with {n} others"),
        };
        warn!("cannot {what} the kernel{others}: {error}{advice}; trying again from time to time");
    }
}
