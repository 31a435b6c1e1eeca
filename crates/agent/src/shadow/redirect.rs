//! Where callers come from when the shadow runs beside the program that they call, in its pod: its
//! ports are taken, so the packet filter leads their new callers to ports of ours.
//!
//! The rules go while no laptop answers, so that callers reach the pod's own program, and for good when
//! the laptop has ended or does not come back; then this program has nothing left to do.

mod message;
mod probes;
mod rule;
mod table;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use kt_wire::{Link, LinkState};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use self::rule::Redirect;
use self::table::Table;
use super::PASS_ON_AFTER;
use super::inbound::Number;
use crate::links::RESET_AFTER;

pub(super) use self::probes::Probes;

/// The ports of the pod that are led here.
#[derive(Default)]
pub(super) struct Redirects {
    /// What is never led away.
    probes: Probes,
    leads: RefCell<HashMap<Number, Lead>>,
    /// Made with the first redirect.
    table: RefCell<Option<Table>>,
    has_begun: Cell<bool>,
    over: Notify,
}

struct Lead {
    /// Our port.
    to: u16,
    /// Whose it is.
    link: Link,
    is_paused: bool,
}

impl Redirects {
    pub(super) fn new(probes: Probes) -> Redirects {
        Redirects { probes, ..Redirects::default() }
    }

    /// Leads new callers of a port of the pod to our port `to` from now on.
    pub(super) fn lead(&self, number: Number, to: u16, link: &Link) -> io::Result<()> {
        let lead = Lead { to, link: link.clone(), is_paused: false };
        self.leads.borrow_mut().insert(number, lead);
        self.apply().inspect_err(|_| drop(self.leads.borrow_mut().remove(&number)))
    }

    /// Leads nobody to `to` any more; who has come already stays.
    pub(super) fn release(&self, number: Number, to: u16) {
        self.leads.borrow_mut().retain(|present, lead| *present != number || lead.to != to);
        self.apply_or_say();
    }

    /// Looks after a laptop until it has ended or stays away.
    pub(super) async fn follow(self: Rc<Redirects>, link: Link) {
        self.has_begun.set(true);
        self.pause_while_away(&link).await;
        self.leads.borrow_mut().retain(|_, lead| !lead.link.is_same(&link));
        self.apply_or_say();
        if self.leads.borrow().is_empty() {
            self.over.notify_one();
        }
    }

    /// Returns when no laptop will come any more.
    pub(super) async fn are_over(&self) {
        tokio::select! {
            () = self.over.notified() => return,
            () = sleep(RESET_AFTER) => {}
        }
        if self.has_begun.get() {
            self.over.notified().await;
        }
    }

    /// Leaves nothing behind, on kernels that are too old to care for it, too.
    pub(super) fn end(&self) {
        let table = self.table.borrow_mut().take();
        if let Some(Err(error)) = table.map(Table::remove) {
            eprintln!("the table of the packet filter stays: {error}");
        }
    }

    async fn pause_while_away(&self, link: &Link) {
        let mut status = link.status();
        loop {
            let state = status.borrow_and_update().clone();
            match state {
                LinkState::Ended(_) => return,
                LinkState::Up => {
                    self.pause(link, false);
                    drop(status.changed().await);
                }
                LinkState::Down(since, _) => tokio::select! {
                    _ = status.changed() => {}
                    () = sleep_until(since + PASS_ON_AFTER) => {
                        self.pause(link, true);
                        tokio::select! {
                            _ = status.changed() => {}
                            () = sleep_until(since + RESET_AFTER) => return,
                        }
                    }
                },
            }
        }
    }

    fn pause(&self, link: &Link, is_paused: bool) {
        let mut is_other = false;
        for lead in self.leads.borrow_mut().values_mut().filter(|lead| lead.link.is_same(link)) {
            is_other |= std::mem::replace(&mut lead.is_paused, is_paused) != is_paused;
        }
        if is_other {
            self.apply_or_say();
        }
    }

    fn apply_or_say(&self) {
        if let Err(error) = self.apply() {
            eprintln!("the packet filter stays as it is: {error}");
        }
    }

    fn apply(&self) -> io::Result<()> {
        let redirects = self.active();
        let mut table = self.table.borrow_mut();
        match table.as_ref() {
            Some(table) => table.set(&self.probes, &redirects),
            None if redirects.is_empty() => Ok(()),
            None => table.insert(Table::make()?).set(&self.probes, &redirects),
        }
    }

    fn active(&self) -> Vec<Redirect> {
        let leads = self.leads.borrow();
        let active = leads.iter().filter(|(_, lead)| !lead.is_paused);
        active
            .map(|((protocol, from), lead)| Redirect { protocol: *protocol, from: *from, to: lead.to })
            .collect()
    }
}
