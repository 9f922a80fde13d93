"""Words for a made-up organisation: what work is called and who, among the agents, does it. No people in it."""

from __future__ import annotations

DOMAINS = ("product", "engineering", "marketing", "sales", "operations", "design")

# id, display name, domain: the seven standard agents.
AGENTS = (
    ("product-agent", "Pace", "product"),
    ("engineering-agent", "Eli", "engineering"),
    ("marketing-agent", "Mark", "marketing"),
    ("sales-agent", "Sage", "sales"),
    ("operations-agent", "Orion", "operations"),
    ("design-agent", "Dana", "design"),
    ("orchestrator-agent", "Xandy", "orchestration"),
)
ALIAS_AGENT = ("product-onboarding", "Pace", "product")
PSEUDO_AGENT = ("chatgpt-app", "ChatGPT app", "operations")

INITIATIVES = {
    "product": ("Onboarding redesign", "Self-serve trial", "Usage-based plan", "In-app search"),
    "engineering": ("Security hardening", "Event pipeline rebuild", "Billing migration", "API rate limits"),
    "marketing": ("Spring e-mail campaign", "Pricing page refresh", "Launch week", "Customer stories"),
    "sales": ("Enterprise pilot", "Partner integration", "Outbound sequence", "Renewal playbook"),
    "operations": ("Support backlog reduction", "Vendor review", "Incident process", "Budget envelope"),
    "design": ("Design tokens", "Accessibility audit", "Empty states", "Chart library"),
}
AREAS = (
    "for trial users",
    "for the dashboard",
    "in Europe",
    "for mobile",
    "phase two",
    "for admins",
    "for new regions",
)
MILESTONES = ("Scope agreed", "First version", "Internal rollout", "Public launch", "Measured and closed")
TASK_STEPS = (
    ("discovery", "research"),
    ("implementation", "implement"),
    ("validation", "review"),
    ("summary", "create"),
)
TASK_SUBJECTS = (
    "usage events",
    "pricing copy",
    "consent flow",
    "import job",
    "status page",
    "audit trail",
    "e-mail audience",
)
DECISIONS = (
    "Approve launch audience",
    "Choose a vendor",
    "Confirm the budget",
    "Accept the trade-off",
    "Pick a rollout plan",
)
BLOCKERS = ("approval pending", "access to events table", "waiting for copy", "unclear requirement")
ARTIFACT_TYPES = (
    "eng.pull_request",
    "eng.diff_pack",
    "eng.report",
    "marketing.launch_asset",
    "mktg.copy",
    "product.prd",
    "product.decision_record",
    "design.component_spec",
    "design.audit",
    "sales.icp_offer_sequence",
    "ops.runbook",
    "brief",
)
# Driver, provider, model, US cents for 1,000 tokens, whether a subscription pays.
MODELS = (
    ("claude_code", "anthropic", "claude-large", 0.9, True),
    ("claude_code", "anthropic", "claude-large", 0.9, False),
    ("claude_code", "anthropic", "claude-small", 0.2, False),
    ("codex", "openai", "codex-large", 0.6, False),
    ("opencode", "other", "open-model", 0.05, False),
    ("server_api", "anthropic", "claude-small", 0.2, False),
)
HOURS_BY_STEP = {"implement": 4.0, "create": 3.0, "research": 2.0, "review": 1.5}
TOKENS_PER_HOUR = 6_500
USD_PER_1000_TOKENS = 0.012
