"""The workflow `create_node`: from an order to a node that is installed, monitored and in service."""

from __future__ import annotations

import functools
import os
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from uuid import UUID, uuid4

import httpx
from pydantic import Field, model_validator
from pydantic_forms.core import FormPage
from pydantic_forms.types import FormGenerator
from sqlalchemy import update

from examples.node.tables import Node, NodeEffect
from stepwire import (
    Retry,
    State,
    StepList,
    Target,
    begin,
    callback_step,
    current,
    done,
    init,
    inputstep,
    retrystep,
    set_status,
    step,
    unlock_subscription,
    workflow,
)
from stepwire.data import SubscriptionTable, db

OSS_TIMEOUT_SECONDS = 10.0
MANAGEMENT_NETWORK = ip_address("10.64.0.0")


class Product(StrEnum):
    """What can be ordered."""

    ACCESS_SWITCH = "Access switch 24x1G"
    EDGE_ROUTER = "Edge router 4x10G"
    CORE_ROUTER = "Core router 8x100G"


class Site(StrEnum):
    """Where we have racks."""

    AMSTERDAM_1 = "ams-1"
    AMSTERDAM_2 = "ams-2"
    FRANKFURT = "fra-3"
    GENEVA = "gva-1"
    LONDON = "lon-2"
    ROTTERDAM = "rtm-1"
    UTRECHT = "utr-1"


def order_form() -> FormGenerator[Any]:
    """Ask for the product, then for the node's name and site."""

    class ProductPage(FormPage):
        product: Product
        customer_id: str = Field(pattern=r"^C-\d{4}$")

    class NodePage(FormPage):
        node_name: str = Field(pattern=r"^[a-z]{3}-\d-[a-z]{2,4}\d{2}$")
        site: Site

        @model_validator(mode="after")
        def name_belongs_to_site(self) -> NodePage:
            if not self.node_name.startswith(f"{self.site}-"):
                message = f"node {self.node_name} is not at site {self.site}; its name must begin with '{self.site}-'"
                raise ValueError(message)
            return self

    product = yield ProductPage
    node = yield NodePage
    return {**product.model_dump(), **node.model_dump()}


@functools.cache
def oss() -> httpx.Client:
    """Return the connections to the outside system that the steps of this process share."""
    return httpx.Client(base_url=os.environ["NODE_OSS_URL"], timeout=OSS_TIMEOUT_SECONDS)


def ask_oss(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post `body` with the step's idempotency key: asked twice, the outside system acts once.

    Raises:
        httpx.HTTPError: it cannot be reached or says no; the step fails or, in a retrystep, is tried again.
    """
    answer = oss().post(path, json=body, headers={"Idempotency-Key": str(current.idempotency_key)})
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


def record_effect(effect: str) -> None:
    """Write down, in the step's own transaction, that it has done something."""
    line = NodeEffect(process_id=current.process_id, node=current.node, attempt=current.attempt, effect=effect)
    db.session.add(line)


@step("Create subscription")
def create_subscription(product: Product, customer_id: str, node_name: str, site: Site) -> State:
    """The subscription is born out of sync; nothing else may work on it until this workflow unlocks it."""
    subscription_id = uuid4()
    db.session.add(
        SubscriptionTable(
            subscription_id=subscription_id,
            description=f"{product} {node_name}",
            status="initial",
            customer_id=customer_id,
            insync=False,
        ),
    )
    db.session.add(Node(subscription_id=subscription_id, node_name=node_name, site=site, product=product))
    record_effect("subscription created")
    return {"subscription_id": subscription_id}


@step("Reserve management address")
def reserve_address(subscription_id: UUID) -> State:
    """Take the address that belongs to the node's number."""
    node = db.session.query(Node).filter_by(subscription_id=subscription_id).one()
    node.address = str(MANAGEMENT_NETWORK + node.node_id)
    record_effect("address reserved")
    return {"address": node.address}


@step("Register in inventory")
def register_in_inventory(node_name: str, site: Site, address: str) -> State:
    """Tell the outside inventory about the node."""
    answer = ask_oss("/inventory", {"node_name": node_name, "site": site, "address": address})
    return {"inventory_id": answer["inventory_id"]}


@step("Order installation")
def order_installation(node_name: str, site: Site, callback_route: str) -> State:
    """Send an engineer; the outside system posts to the callback route when the node is in its rack."""
    answer = ask_oss("/installations", {"node_name": node_name, "site": site, "answer_to": callback_route})
    return {"installation_id": answer["installation_id"]}


@step("Check installation")
def check_installation(installation_id: str, installation: dict[str, Any]) -> State:
    """Believe an answer only if it is about our installation."""
    if installation["installation_id"] != installation_id:
        message = f"the answer is about installation {installation['installation_id']}, not {installation_id}"
        raise ValueError(message)
    return {"serial_number": installation["serial_number"]}


@retrystep("Enable monitoring", retry=Retry(delay_seconds=0.5, factor=1.5, max_delay_seconds=5.0))
def enable_monitoring(node_name: str, address: str) -> State:
    """The monitoring system is often too busy; asking again helps."""
    answer = ask_oss("/monitoring", {"node_name": node_name, "address": address})
    return {"monitoring_id": answer["monitoring_id"]}


@inputstep("Confirm activation", assignee="NOC")
def confirm_activation(node_name: str, serial_number: str) -> type[FormPage]:
    """An operator looks at the node before customers use it."""

    class ConfirmPage(FormPage):
        confirmed: bool = Field(description=f"{node_name} (serial number {serial_number}) is reachable")

        @model_validator(mode="after")
        def must_be_confirmed(self) -> ConfirmPage:
            if not self.confirmed:
                message = "activation must be confirmed; to refuse it, abort the process"
                raise ValueError(message)
            return self

    return ConfirmPage


@step("Activate node")
async def activate_node(subscription_id: UUID) -> None:
    """Put the node into service; an async step has an async session."""
    statement = update(Node).where(Node.subscription_id == subscription_id).values(activated_at=datetime.now(UTC))
    await db.session.execute(statement)
    record_effect("node activated")


@workflow("Create node", initial_input_form=order_form, target=Target.CREATE)
def create_node() -> StepList:
    """Order, install, monitor, confirm and activate one node."""
    install = callback_step(
        "Install at site",
        action_step=order_installation,
        validate_step=check_installation,
        result_key="installation",
        timeout=3600.0,
    )
    return (
        init
        >> begin
        >> create_subscription
        >> reserve_address
        >> register_in_inventory
        >> install
        >> enable_monitoring
        >> confirm_activation
        >> activate_node
        >> set_status("active")
        >> unlock_subscription
        >> done
    )
