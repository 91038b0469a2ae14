"""The columns of the Contract Commitment dataset of FOCUS 1.4, and its report."""

from typing import Final

from services.reporting.domain.reports.columns import MONEY_SCALE, Column
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, OF_SUBSCRIPTIONS

FOCUS_COMMITMENTS: Final = Report(
    id=ReportId("focus-commitments"),
    title="Contract commitments (FOCUS 1.4)",
    description="One row per purchase, in the columns of the dataset Contract Commitment of FOCUS 1.4.",
    columns=(
        Column("ContractId", "text", "Id of the subscription."),
        Column("ContractPeriodStart", "timestamp", "Start of the subscription's first term."),
        Column("ContractPeriodEnd", "timestamp", "End of the subscription's last term, exclusive."),
        Column("ContractCommitmentId", "text", "Id of the purchase."),
        Column("ContractCommitmentPeriodStart", "timestamp", "When the units begin to count."),
        Column("ContractCommitmentPeriodEnd", "timestamp", "When the units cease to count, exclusive."),
        Column("ContractCommitmentCreated", "timestamp", "When the purchase was recorded."),
        Column(
            "ContractCommitmentLastUpdated", "timestamp", "When a value of the row last changed, as far as is known."
        ),
        Column("ContractCommitmentCategory", "text", "Always `Usage`: units are committed, not money."),
        Column("ContractCommitmentType", "text", "Always `Flexible unit pool`."),
        Column("ContractCommitmentDescription", "text", "The units and the reference of the order.", nullable=True),
        Column("ContractCommitmentQuantity", "decimal", "Units that were bought.", nullable=True, scale=0),
        Column("ContractCommitmentUnit", "text", "What the subscription calls its units.", nullable=True),
        Column(
            "ContractCommitmentCost",
            "decimal",
            "Price of the purchase in `BillingCurrency`; empty without a price.",
            nullable=True,
            scale=MONEY_SCALE,
        ),
        Column("BillingCurrency", "text", "Currency of the price (ISO 4217); empty without a price.", nullable=True),
        Column("ContractCommitmentBenefitCategory", "text", "Always `Entitlement`: units entitle to use products."),
        Column(
            "ContractCommitmentModel", "text", "Always `Discontinuous`: unused units do not lapse with each interval."
        ),
        Column(
            "ContractCommitmentFulfillmentInterval", "text", "Always `Full Period`: the pool is not reset within it."
        ),
        Column("ContractCommitmentDurationType", "text", "Length of the period, such as `1 Year` or `90 Days`."),
        Column(
            "ContractCommitmentLifecycleStatus",
            "text",
            "`Pending`, `Active`, `Exhausted`, `Expired`, `Canceled` (voided) or `Superseded` (renewed early).",
        ),
        Column("ContractCommitmentOfferCategory", "text", "`Public`: by the price list; `Negotiated`: by the order."),
        Column(
            "ContractCommitmentDiscountPercentage",
            "decimal",
            "Discount of the price tier, as a fraction of 1; empty without a price.",
            nullable=True,
            scale=4,
        ),
        Column(
            "ContractCommitmentPaymentModel", "text", "Always `All Upfront`: a purchase is one order with one total."
        ),
        Column("ContractCommitmentPaymentInterval", "text", "Always `One-Time`."),
        Column(
            "ContractCommitmentPaymentUpfrontPercentage",
            "decimal",
            "Always 1: the whole price is paid upfront.",
            scale=1,
        ),
        Column("ContractCommitmentApplicability", "text", "What the units apply to, in JSON: all products."),
        Column("InvoiceIssuerName", "text", "Name of the vendor."),
        Column("ServiceProviderName", "text", "Name of the vendor."),
        Column(
            "x_AllocatedQuantity",
            "decimal",
            "Units of the whole pool that are allocated to products; empty if the purchase does not count now.",
            nullable=True,
            scale=0,
        ),
        Column(
            "x_ConsumedQuantity",
            "decimal",
            "Units of the whole pool that are consumed; empty if the purchase does not count now.",
            nullable=True,
            scale=0,
        ),
    ),
    parameters=(*OF_SUBSCRIPTIONS, FLAVOUR),
    audience="view",
)
