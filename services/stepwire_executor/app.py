"""The executor: the only service in which the code of workflows runs."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.service import Chassis, run_service
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.data.claims import Waiting
from stepwire.flow.registry import Registry
from stepwire.flow.retry import Retry
from stepwire_executor.attempts import Attempts
from stepwire_executor.checks import Checks
from stepwire_executor.claiming import Claimer
from stepwire_executor.dead_letters import DeadLetters
from stepwire_executor.fetching import Fetcher
from stepwire_executor.forms import FormDesk, FormService
from stepwire_executor.leases import Identity, Leases
from stepwire_executor.living import Executor, Rooms
from stepwire_executor.offering import host_name
from stepwire_executor.plans import Plans
from stepwire_executor.polling import Poller
from stepwire_executor.publishing import Publisher
from stepwire_executor.reports import Reports
from stepwire_executor.running import Runner
from stepwire_executor.signals import Signals
from stepwire_executor.slots import Slots
from stepwire_executor.steps import Workshop
from stepwire_executor.tasks import RunTasks
from stepwire_executor.threads import AsyncThread, Mailbox, Threads
from stepwire_executor.transactions import Finisher, Sessions

GROUP = "executor"
FORMS_GROUP = "executor.forms"


def main(settings: Settings) -> int:
    """Run an executor until it is told to stop; returns the exit code of the process."""
    return run_service("executor", settings, serve)


async def serve(chassis: Chassis) -> int:
    """Serve until `chassis.stopping` is set, then drain.

    Raises:
        SettingsError: no workflows are named.
        StepwireError: a workflow is written in a way that cannot work.
    """
    return await build(chassis).live()


def build(chassis: Chassis) -> Executor:
    """Put an executor together; nothing of it runs yet but idle threads."""
    settings, log = chassis.settings, chassis.log
    if not settings.workflows:
        raise SettingsError("STEPWIRE_WORKFLOWS is not set; name the packages with your workflows.")
    plans = Plans(Registry.discover(settings.workflows), chassis.metrics)
    slots = Slots(settings.executor_max_runs, chassis.metrics.executor_runs)
    leases = _leases(chassis, plans, slots)
    rooms = _rooms(chassis)
    shop = _workshop(chassis, leases, rooms.sessions)
    attempts = Attempts(shop, rooms.threads, rooms.loop_thread, chassis.engine, log)
    checks = Checks(rooms.sessions, rooms.threads, rooms.loop_thread)
    publisher = Publisher(chassis.producer, settings.topic(topics.STEP_RESULTS), log)
    signals = Signals()
    runs = RunTasks(Runner(shop, attempts, checks, publisher, signals, log), slots, signals)
    dead_letters = DeadLetters(chassis.producer, settings, chassis.metrics.dead_letters, log)
    poller = _poller(chassis, dead_letters)
    give_up = partial(leases.run_ended, forced=False)
    claimer = Claimer(chassis.engine, UUID(chassis.instance), plans, chassis.failpoints, give_up, log)
    fetcher = Fetcher(poller, claimer, _waiting(settings, plans), runs, log)
    forms = _forms(chassis, FormDesk(checks, plans, chassis.engine, chassis.clock), dead_letters)
    return Executor(chassis, plans, rooms, leases, runs, attempts, fetcher, poller, forms)


def _rooms(chassis: Chassis) -> Rooms:
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(loop)
    threads = Threads(chassis.settings.executor_threads, mailbox, loop)
    loop_thread = AsyncThread(mailbox, loop)
    return Rooms(mailbox, threads, loop_thread, Sessions(chassis.settings, chassis.instance, threads.will_wait))


def _leases(chassis: Chassis, plans: Plans, slots: Slots) -> Leases:
    settings = chassis.settings
    identity = Identity(
        executor=UUID(chassis.instance),
        name=host_name(),
        queues=settings.queues,
        manifests=[manifest.hash for manifest in plans.manifests],
        forms=sorted(plans.registry.forms),
        lease_seconds=settings.executor_lease_seconds,
    )
    return Leases(settings.database_url, identity, settings.executor_beat_seconds, slots.revoke, chassis.log)


def _workshop(chassis: Chassis, leases: Leases, sessions: Sessions) -> Workshop:
    settings = chassis.settings
    return Workshop(
        settings=settings,
        executor=UUID(chassis.instance),
        failpoints=chassis.failpoints,
        leases=leases,
        sessions=sessions,
        finisher=Finisher(chassis.failpoints),
        reports=Reports(chassis.instance, chassis.clock.now),
        default_retry=Retry(
            delay_seconds=settings.retrystep_delay_seconds,
            factor=settings.retrystep_factor,
            max_delay_seconds=settings.retrystep_max_delay_seconds,
        ),
        tracing=chassis.tracing,
    )


def _poller(chassis: Chassis, dead_letters: DeadLetters) -> Poller | None:
    settings = chassis.settings
    if chassis.failpoints.enabled("executor.ignore_step_commands"):
        return None
    names = [settings.topic(topics.step_commands(queue)) for queue in settings.queues]
    return Poller(partial(make_consumer, settings, group=GROUP), names, dead_letters, chassis.log)


def _forms(chassis: Chassis, desk: FormDesk, dead_letters: DeadLetters) -> FormService:
    settings = chassis.settings
    consumer = partial(make_consumer, settings, group=FORMS_GROUP, enable_auto_commit=True, fetch_max_wait_ms=2000)
    replies = settings.topic(topics.FORMS_REPLIES)
    return FormService(consumer, desk, chassis.producer, replies, dead_letters, chassis.log)


def _waiting(settings: Settings, plans: Plans) -> Waiting:
    return Waiting(
        queues=list(settings.queues),
        manifests=[manifest.hash for manifest in plans.manifests],
        after_seconds=settings.fallback_after_seconds,
        most=settings.executor_max_runs,
    )
