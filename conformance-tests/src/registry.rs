//! What a registered test is, and the list of all of them.
//!
//! A rule is a numbered statement about a broker's behaviour; a [`Rule`] value is one test of it. A
//! rule may have several tests, and one test may show several rules. A rule that cannot be shown
//! from outside is registered with the reason, so that nothing is missing silently.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::failure::Failure;
use crate::operator::Duty;
use crate::profile::Variant;
use crate::restart::Stop;
use crate::rules::SECTIONS;
use crate::trial::Trial;

/// How long a test may take unless it says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long a test may take that restarts the broker: a restart of its own and, at both ends of it,
/// what any test may do.
pub const RESTART_DEADLINE: Duration = Duration::from_secs(240);

/// How long a test may take that gives an operator orders: a command for RabbitMQ starts an Erlang
/// machine, which takes some seconds while the processor is busy.
pub const OPERATOR_DEADLINE: Duration = Duration::from_secs(120);

/// The IDs that the suite sets out to cover, one a line, in the order of the sections.
pub const IDS: &str = include_str!("ids.txt");

/// A test while it runs.
pub type Running<'t> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 't>>;

/// One registered test.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The rule it shows, for instance `QUEUE-05`.
    pub id: &'static str,
    /// Further rules that the same test shows.
    pub also: &'static [&'static str],
    /// The test's own name, unique within its ID.
    pub title: &'static str,
    /// The rule in one line.
    pub rule: &'static str,
    /// Which of RabbitMQ's generations behaves so.
    pub follows: Follows,
    /// What the test asks the profile to choose between.
    pub variants: &'static [&'static [Variant]],
    /// The first version (major, minor) that behaves so, where that is not one of the first that are
    /// followed.
    pub since: Option<(u32, u32)>,
    /// What the test needs beyond a broker and its URI.
    pub needs: Needs,
    /// How long it may take.
    pub deadline: Duration,
    /// Tests with the same lock never run at the same time.
    pub lock: Option<&'static str>,
    /// The test, or why there is none.
    pub check: Check,
}

/// How a rule is shown.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// By running this.
    Test(fn(&Trial) -> Running<'_>),
    /// Not at all from outside; the text says why.
    Untestable(&'static str),
}

/// Which of RabbitMQ's generations behaves as the rule says, be it in a variant of its own. A rule that
/// only one follows is not applicable in the other's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// 3.x and 4.x alike.
    Both,
    /// 3.x only.
    V3,
    /// 4.x only.
    V4,
}

/// What a test needs beyond a broker and its URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A socket that is written byte by byte.
    pub raw: bool,
    /// The vhosts and users of the README's section "Fixtures".
    pub fixtures: bool,
    /// A broker that has quorum queues.
    pub quorum_queues: bool,
    /// A broker that has streams.
    pub stream_queues: bool,
    /// A broker that offers this login mechanism.
    pub mechanism: Option<&'static str>,
    /// A broker that can be stopped so and started again. Such a test must have the broker for
    /// itself.
    pub restart: Option<Stop>,
    /// Someone who can do to the broker what an operator does.
    pub operator: bool,
    /// An operator who raises alarms, which hold up every publisher. Such a test must have the broker
    /// for itself.
    pub alarms: bool,
    /// The broker's HTTP API.
    pub management: bool,
    /// What the operator must be able to do.
    pub duty: Option<Duty>,
}

impl Rule {
    /// A test; [`crate::rules`] registers them with the macro `rules!`.
    pub const fn test(
        id: &'static str,
        title: &'static str,
        rule: &'static str,
        test: fn(&Trial) -> Running<'_>,
    ) -> Self {
        Self {
            id,
            also: &[],
            title,
            rule,
            follows: Follows::Both,
            variants: &[],
            since: None,
            needs: Needs {
                raw: false,
                fixtures: false,
                quorum_queues: false,
                stream_queues: false,
                mechanism: None,
                restart: None,
                operator: false,
                alarms: false,
                management: false,
                duty: None,
            },
            deadline: DEADLINE,
            lock: None,
            check: Check::Test(test),
        }
    }

    /// A rule without a test, and the reason.
    pub const fn untestable(id: &'static str, rule: &'static str, reason: &'static str) -> Self {
        const NEVER_RUNS: fn(&Trial) -> Running<'_> = |_| Box::pin(async { Ok(()) });
        let mut entry = Self::test(id, "untestable", rule, NEVER_RUNS);
        entry.check = Check::Untestable(reason);
        entry
    }

    /// The test shows these rules as well.
    #[must_use]
    pub const fn also(mut self, ids: &'static [&'static str]) -> Self {
        self.also = ids;
        self
    }

    /// The test writes its own bytes.
    #[must_use]
    pub const fn raw(mut self) -> Self {
        self.needs.raw = true;
        self
    }

    /// The test needs the fixtures and is skipped where they are missing.
    #[must_use]
    pub const fn fixtures(mut self) -> Self {
        self.needs.fixtures = true;
        self
    }

    /// The test needs quorum queues and is skipped where the broker has none.
    #[must_use]
    pub const fn quorum_queues(mut self) -> Self {
        self.needs.quorum_queues = true;
        self
    }

    /// The test needs streams and is skipped where the broker has none.
    #[must_use]
    pub const fn stream_queues(mut self) -> Self {
        self.needs.stream_queues = true;
        self
    }

    /// The test logs in with this mechanism and is skipped where it is not offered.
    #[must_use]
    pub const fn mechanism(mut self, name: &'static str) -> Self {
        self.needs.mechanism = Some(name);
        self
    }

    /// The test stops the broker in order and starts it again.
    #[must_use]
    pub const fn restart(self) -> Self {
        self.restart_after(Stop::Clean)
    }

    /// The test has the broker killed and starts it again.
    #[must_use]
    pub const fn crash(self) -> Self {
        self.restart_after(Stop::Crash)
    }

    const fn restart_after(mut self, stop: Stop) -> Self {
        self.needs.restart = Some(stop);
        self.deadline = RESTART_DEADLINE;
        self
    }

    /// The test has an operator set policies, and is skipped where nobody does.
    #[must_use]
    pub const fn operator(self) -> Self {
        self.has_operator_for(Duty::Policies)
    }

    /// The test has an operator raise alarms.
    #[must_use]
    pub const fn alarms(self) -> Self {
        let mut rule = self.has_operator_for(Duty::Alarms);
        rule.needs.alarms = true;
        rule
    }

    /// The test has an operator change what a user of the fixtures may do.
    #[must_use]
    pub const fn permissions(self) -> Self {
        self.has_operator_for(Duty::Permissions)
    }

    /// The test has an operator close a connection.
    #[must_use]
    pub const fn closes_connections(self) -> Self {
        self.has_operator_for(Duty::Connections)
    }

    /// The test has an operator make and delete a vhost.
    #[must_use]
    pub const fn vhosts(self) -> Self {
        self.has_operator_for(Duty::Vhosts)
    }

    /// The test asks the broker's HTTP API, and is skipped where there is none.
    #[must_use]
    pub const fn management(mut self) -> Self {
        self.needs.management = true;
        self.deadline = OPERATOR_DEADLINE;
        self
    }

    const fn has_operator_for(mut self, duty: Duty) -> Self {
        self.needs.operator = true;
        self.needs.duty = Some(duty);
        self.deadline = OPERATOR_DEADLINE;
        self
    }

    /// Whether the test disturbs all others, or is disturbed by them.
    #[must_use]
    pub fn runs_alone(&self) -> bool {
        self.needs.restart.is_some() || self.needs.alarms
    }

    /// Only this generation of RabbitMQ behaves so.
    #[must_use]
    pub const fn follows(mut self, follows: Follows) -> Self {
        self.follows = follows;
        self
    }

    /// Brokers follow the rule in these ways, a list for each ID; the target's profile says which are accepted.
    #[must_use]
    pub const fn variants(mut self, lists: &'static [&'static [Variant]]) -> Self {
        self.variants = lists;
        self
    }

    /// Only brokers from this version (major, minor) on behave so.
    #[must_use]
    pub const fn since(mut self, version: (u32, u32)) -> Self {
        self.since = Some(version);
        self
    }

    /// The test waits for something slow, and may take so many seconds.
    #[must_use]
    pub const fn slow(mut self, deadline_s: u64) -> Self {
        self.deadline = Duration::from_secs(deadline_s);
        self
    }

    /// The test uses something of which there is only one, for instance a user with a connection
    /// limit; tests with the same lock take turns.
    #[must_use]
    pub const fn lock(mut self, name: &'static str) -> Self {
        self.lock = Some(name);
        self
    }

    /// What the test asks the profile to choose between, all together.
    pub fn all_variants(&self) -> impl Iterator<Item = Variant> {
        self.variants.iter().copied().flatten().copied()
    }

    /// `EXCH-05 default_exchange_is_fixed`: the test's name in every report.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.id, self.title)
    }

    /// The section of an ID: `EXCH` of `EXCH-05`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        section_of(self.id)
    }

    /// All IDs that the test shows.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.id).chain(self.also.iter().copied())
    }

    /// True when a user's word selects this test: an ID, a section, a title, or `ID title`.
    #[must_use]
    pub fn is_meant_by(&self, word: &str) -> bool {
        self.ids()
            .any(|id| id.eq_ignore_ascii_case(word) || section_of(id).eq_ignore_ascii_case(word))
            || self.title == word
            || self.name() == word
    }
}

/// The tests of one section.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The letters before the number, for instance `EXCH`.
    pub name: &'static str,
    /// True once every ID of the section is registered; from then on a missing one is an error.
    pub complete: bool,
    /// The tests, in as many lists as the section has files.
    pub rules: &'static [&'static [Rule]],
}

impl Section {
    /// A section in which every ID is registered.
    pub const fn complete(name: &'static str, rules: &'static [&'static [Rule]]) -> Self {
        Self {
            name,
            complete: true,
            rules,
        }
    }

    /// A section that still misses IDs.
    pub const fn unfinished(name: &'static str, rules: &'static [&'static [Rule]]) -> Self {
        Self {
            name,
            complete: false,
            rules,
        }
    }

    /// The section's tests.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        self.rules.iter().copied().flatten()
    }
}

/// Every registered test, section by section.
pub fn registered() -> impl Iterator<Item = &'static Rule> {
    SECTIONS.iter().flat_map(|section| section.rules())
}

/// The IDs of complete sections that no test is registered for.
#[must_use]
pub fn missing_ids() -> Vec<&'static str> {
    let complete = |id: &&str| {
        SECTIONS
            .iter()
            .any(|section| section.complete && section.name == section_of(id))
    };
    IDS.lines()
        .filter(complete)
        .filter(|id| !registered().any(|rule| rule.ids().any(|shown| shown == *id)))
        .collect()
}

pub(crate) fn section_of(id: &str) -> &str {
    id.split_once('-').map_or(id, |(section, _)| section)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_of_a_complete_section_is_registered() {
        assert_eq!(missing_ids(), Vec::<&str>::new());
    }

    #[test]
    fn only_ids_of_the_list_are_registered() {
        let known: HashSet<&str> = IDS.lines().collect();
        let unknown: Vec<_> = registered()
            .flat_map(Rule::ids)
            .filter(|id| !known.contains(id))
            .collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }

    #[test]
    fn every_section_of_the_list_has_its_file_and_holds_its_own_rules() {
        let listed: HashSet<&str> = IDS.lines().map(section_of).collect();
        let present: HashSet<&str> = SECTIONS.iter().map(|section| section.name).collect();
        assert_eq!(listed, present);
        for section in SECTIONS {
            assert!(section.rules().all(|rule| rule.section() == section.name));
        }
    }

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        let twice: Vec<_> = registered()
            .map(Rule::name)
            .filter(|name| !seen.insert(name.clone()))
            .collect();
        assert_eq!(twice, Vec::<String>::new());
    }

    #[test]
    fn a_section_is_no_prefix() {
        const RULE: Rule = Rule::untestable("QUEUE-10", "", "");
        assert!(RULE.is_meant_by("QUEUE") && RULE.is_meant_by("queue-10"));
        assert!(!RULE.is_meant_by("QUEUE-1") && !RULE.is_meant_by("QUE"));
    }
}
