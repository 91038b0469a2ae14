"""The demo's catalogue: fifteen products, as the vendor enters them."""

from dataclasses import dataclass

from shared.events.state import Aggregation, Reset


@dataclass(frozen=True, slots=True)
class DemoMeter:
    """A meter whose first rate is ``units`` pool units per ``block``."""

    id: str
    name: str
    aggregation: Aggregation
    units: int
    block: int
    reset: Reset = "window"


@dataclass(frozen=True, slots=True)
class DemoProduct:
    """A product with its meters."""

    id: str
    name: str
    meters: tuple[DemoMeter, ...]

    @property
    def source(self) -> str:
        """The source in the events of its platform."""
        return f"/platforms/{self.id}"

    @property
    def burns_down(self) -> bool:
        """Whether one of its meters adds up over the term."""
        return any(meter.reset == "term" for meter in self.meters)


CATALOGUE: tuple[DemoProduct, ...] = (
    DemoProduct("exposure-scan", "Exposure Scan", (DemoMeter("host", "Hosts scanned", "unique", 1, 1),)),
    DemoProduct("risk-hub", "Risk Hub", (DemoMeter("asset", "Assets with findings", "unique", 1, 2),)),
    DemoProduct("asset-inventory", "Asset Inventory", (DemoMeter("asset", "Managed assets", "unique", 1, 4),)),
    DemoProduct("surface-watch", "Surface Watch", (DemoMeter("asset", "Internet-facing assets", "peak", 2, 1),)),
    DemoProduct("patch-flow", "Patch Flow", (DemoMeter("endpoint", "Patched endpoints", "unique", 1, 1),)),
    DemoProduct("policy-audit", "Policy Audit", (DemoMeter("host", "Hosts assessed", "unique", 1, 2),)),
    DemoProduct("web-app-test", "Web App Test", (DemoMeter("application", "Applications", "peak", 12, 1),)),
    DemoProduct("api-guard", "API Guard", (DemoMeter("call", "Calls", "sum", 1, 10_000, "term"),)),
    DemoProduct(
        "container-shield",
        "Container Shield",
        (DemoMeter("node", "Nodes", "peak", 4, 1), DemoMeter("image", "Images", "unique", 1, 20)),
    ),
    DemoProduct(
        "cloud-posture",
        "Cloud Posture",
        (DemoMeter("vm", "Virtual machines", "peak", 8, 1), DemoMeter("function", "Functions", "peak", 8, 100)),
    ),
    DemoProduct(
        "workload-guard",
        "Workload Guard",
        (
            DemoMeter("agent-vm", "Machines with an agent", "unique", 1, 1),
            DemoMeter("agentless-vm", "Machines without an agent", "unique", 2, 1),
        ),
    ),
    DemoProduct("saas-posture", "SaaS Posture", (DemoMeter("user", "Users", "peak", 1, 10),)),
    DemoProduct("file-integrity", "File Integrity", (DemoMeter("host", "Hosts watched", "unique", 1, 2),)),
    DemoProduct("endpoint-response", "Endpoint Response", (DemoMeter("endpoint", "Endpoints", "unique", 2, 1),)),
    DemoProduct("certificate-watch", "Certificate Watch", (DemoMeter("certificate", "Certificates", "latest", 1, 25),)),
)
PRODUCTS = {product.id: product for product in CATALOGUE}

PRICE_LIST = {
    "currency": "EUR",
    "list_price_minor": 1000,
    "tiers": [
        {"from_units": 0, "discount_basis_points": 0},
        {"from_units": 10_000, "discount_basis_points": 800},
        {"from_units": 50_000, "discount_basis_points": 1500},
        {"from_units": 250_000, "discount_basis_points": 2200},
        {"from_units": 1_000_000, "discount_basis_points": 2800},
    ],
}
"""10.00 EUR per unit and year, with a discount by tiers."""
