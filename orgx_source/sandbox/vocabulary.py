"""Words for a sample organisation: names of work and of the agents that do it. No people."""

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
# Subjects of the tasks of an initiative.
SUBJECTS = {
    "Onboarding redesign": ("welcome flow", "first project wizard", "sample workspace", "invitation e-mail"),
    "Self-serve trial": ("sign-up form", "trial limits", "upgrade prompt", "expiry e-mail"),
    "Usage-based plan": ("usage metering", "price tiers", "invoice preview", "overage alerts"),
    "In-app search": ("search index", "result ranking", "saved searches", "permission filter"),
    "Security hardening": ("audit trail", "key rotation", "session timeout", "dependency updates"),
    "Event pipeline rebuild": ("event schema", "import job", "replay tool", "dead-letter queue"),
    "Billing migration": ("invoice export", "payment webhooks", "tax rules", "account mapping"),
    "API rate limits": ("quota model", "limit headers", "burst tests", "customer exceptions"),
    "Spring e-mail campaign": ("audience list", "e-mail copy", "consent check", "send schedule"),
    "Pricing page refresh": ("pricing copy", "plan comparison", "FAQ section", "conversion tracking"),
    "Launch week": ("launch calendar", "demo video", "press kit", "launch posts"),
    "Customer stories": ("interview guide", "case study", "quote approvals", "story page"),
    "Enterprise pilot": ("pilot scope", "security questionnaire", "success criteria", "pilot contract"),
    "Partner integration": ("partner API", "joint pitch", "referral tracking", "partner portal"),
    "Outbound sequence": ("prospect list", "opening message", "follow-up messages", "reply routing"),
    "Renewal playbook": ("renewal forecast", "health score", "discount rules", "renewal talk track"),
    "Support backlog reduction": ("ticket triage", "macro library", "help articles", "escalation path"),
    "Vendor review": ("vendor inventory", "contract terms", "cost comparison", "exit plan"),
    "Incident process": ("severity levels", "on-call rota", "status page", "postmortem template"),
    "Budget envelope": ("spend report", "team budgets", "approval thresholds", "forecast model"),
    "Design tokens": ("colour tokens", "type scale", "spacing scale", "token export"),
    "Accessibility audit": ("keyboard paths", "contrast fixes", "screen reader labels", "audit report"),
    "Empty states": ("empty dashboard", "empty search", "illustrations", "call-to-action copy"),
    "Chart library": ("bar chart", "time axis", "colour palette", "chart guidelines"),
}
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
