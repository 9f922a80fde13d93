"""Sequences that once led to a false claim or a permanently wrong warehouse, or were suspected to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A sequence.

    Attributes:
        name: What happens in it.
        kinds: The kinds of `troubles.KINDS` that it uses.
        steps: Its steps, before the quiet runs at the end.
        stood: Whether the code is known to handle it.
    """

    name: str
    kinds: tuple[str, ...]
    steps: tuple[str, ...]
    stood: bool = True


KNOWN = (
    Known("a table is dropped", ("analyst",), ("life.run()", 'life.run(Analyst("drop table","tasks",1))')),
    Known(
        "a history is dropped",
        ("analyst of history",),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2))',
            'life.run(Analyst("drop table","tasks_history",1))',
        ),
    ),
    Known(
        "the column of titles is dropped", ("analyst",), ("life.run()", 'life.run(Analyst("drop column","tasks",0))')
    ),
    Known("a column is dropped", ("analyst",), ("life.run()", 'life.run(Analyst("drop column","tasks",1))')),
    Known(
        "a column is added that OrgX sends otherwise",
        ("analyst", "fields"),
        (
            "life.run()",
            'life.run(Analyst("add column","tasks",0))',
            'life.change(Change("field","task",1,"x",3),Change("field","task",3,"x",3))',
            "life.run()",
        ),
    ),
    Known("rows are doubled by hand", ("analyst",), ("life.run()", 'life.run(Analyst("double","tasks",2))')),
    Known(
        "versions are doubled by hand",
        ("analyst of history",),
        ("life.run()", 'life.run(Analyst("double","tasks_history",2))'),
    ),
    Known("rows are deleted by hand", ("analyst",), ("life.run()", 'life.run(Analyst("delete","tasks",2))')),
    Known("values are changed by hand", ("analyst",), ("life.run()", 'life.run(Analyst("edit","tasks",2))')),
    Known(
        "an index is added",
        ("analyst", "fields"),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2))',
            'life.run(Analyst("index","tasks",2))',
            'life.change(Change("field","task",3,"x",3))',
            "life.run()",
        ),
    ),
    Known(
        "a replica is 95 minutes behind",
        ("lag",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2),Change("insert","task",1,"new",3))',
            "life.run()",
            'life.change(Change("edit","task",1,"green",30))',
            "life.run()",
            'life.run(Served((Fault("stale",5700),),Honesty.LIES))',
        ),
    ),
    Known(
        "a full read asks a replica that is behind",
        ("lag",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2),Change("insert","task",1,"new",3))',
            "life.run()",
            'life.run(Setting("full",True),Served((Fault("stale",5700),),Honesty.LIES))',
        ),
    ),
    Known(
        "a snapshot is behind",
        ("lag",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","agent",1,"new",3))',
            "life.run()",
            'life.run(Served((Fault("stale",5700),),Honesty.LIES))',
        ),
    ),
    Known(
        "pages are of different age",
        ("mixed lag",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2),Change("edit","task",1,"green",30))',
            "life.run()",
            'life.run(Setting("full",True),Mixed((0.0,5700.0,30.0)))',
        ),
    ),
    Known(
        "the order is ignored for a night",
        ("order",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","task",0,"a",3),Change("edit","task",5,"b",3),Change("edit","task",12,"c",3),Change("edit","task",20,"d",3))',
            'life.run(Served((Fault("ignore_order"),)))',
        ),
    ),
    Known(
        "totals stay away for a night",
        ("totals",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("delete","task",0,"a",3))',
            'life.run(Served((Fault("no_total"),)))',
        ),
    ),
    Known(
        "counts cancel out",
        ("cancel",),
        ("life.run()", "life.wait(3)", 'life.change(Change("cancel","task",0,"a",3))', "life.run()"),
    ),
    Known(
        "ids are refused",
        ("refused",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("delete","task",0,"a",3))',
            'life.run(Served((Fault("refuse","ids"),)))',
        ),
    ),
    Known(
        "rows are made tomorrow",
        ("future",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(*[Change("future","task",2,"a",3)],*[Change("edit","task",i,"b",3) for i in range(12)])',
            "life.run()",
        ),
    ),
    Known(
        "a row says it was changed in two days",
        ("future",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("future","task",41,"a",3))',
            "life.run()",
            "life.wait(3)",
            'life.change(*[Change("edit","task",i,"b",3) for i in range(4)])',
            "life.run()",
        ),
    ),
    Known(
        "no row tells a time but one of tomorrow",
        ("unstamped", "future"),
        (
            'life.change(*[Change("unstamped","task",i,"a",3) for i in range(1,48,2)],Change("future","task",2,"f",1))',
            "life.run()",
            "life.wait(1)",
            'life.change(*[Change("edit","task",i,"b",3) for i in range(24)])',
            "life.run()",
        ),
    ),
    Known(
        "an event comes three hours late",
        ("late",),
        (
            "life.run()",
            "life.wait(3)",
            'life.change(Change("edit","activity",1,"x",3))',
            "life.run()",
            "life.wait(1)",
            'life.change(Change("late","activity",1,"x",3))',
            "life.run()",
        ),
    ),
    Known("a key sees less for a night", ("keys",), ("life.run()", 'life.run(Key("narrow"))')),
    Known(
        "a key of another workspace is used for a night",
        ("keys", "workspaces"),
        ('life.change(Change("move","task",0,"x",1))', "life.run()", 'life.run(Key("field"))'),
    ),
    Known(
        "a row without a workspace is deleted",
        ("workspace", "workspaces"),
        (
            'life.change(Change("move","task",0,"x",1))',
            "life.run()",
            'life.change(Change("delete","task",3,"x",1))',
            "life.run(Setting('workspace_id',HOME))",
        ),
    ),
    Known(
        "the workspace filter is ignored",
        ("workspace", "workspaces", "ignored filters"),
        (
            'life.change(Change("move","task",0,"x",1))',
            "life.run()",
            "life.run(Setting('workspace_id',HOME),Served((Fault('ignore_workspace'),)))",
        ),
    ),
    Known(
        "a backup meets what a killed run left",
        ("backups", "killed at a write"),
        (
            "life.run()",
            "life.run(Copied())",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run()",
            "life.wait(1)",
            'life.change(Change("edit","task",1,"green",30))',
            'life.run(Kill("write",1))',
            'life.run(Restored("file"))',
        ),
    ),
    Known(
        "a backup of the file is restored",
        ("backups",),
        (
            "life.run()",
            "life.run(Copied())",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run()",
            'life.run(Restored("file"))',
        ),
    ),
    Known(
        "a backup of the working folder is restored",
        ("backups",),
        (
            "life.run()",
            "life.run(Copied())",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run()",
            'life.change(Change("edit","task",1,"green",30))',
            'life.run(Restored("folder"))',
        ),
    ),
    Known("a first load loses a row", ("tampering",), ('life.run(Tampering("lose"))',)),
    Known("a first load doubles a row", ("tampering",), ('life.run(Tampering("double"))',)),
    Known(
        "a load loses a row",
        ("tampering",),
        ("life.run()", "life.wait(1)", 'life.change(Change("edit","task",1,"red",2))', 'life.run(Tampering("lose"))'),
    ),
    Known(
        "a load doubles a row",
        ("tampering",),
        ("life.run()", "life.wait(1)", 'life.change(Change("edit","task",1,"red",2))', 'life.run(Tampering("double"))'),
    ),
    Known(
        "a first load loses a version and doubles one",
        ("tampering",),
        ('life.run(Tampering("swap","history"))',),
    ),
    Known("a first load loses a row and doubles one", ("tampering",), ('life.run(Tampering("swap"))',)),
    Known(
        "a load loses a row and doubles one",
        ("tampering",),
        (
            "life.run()",
            "life.wait(1)",
            'life.change(Change("edit","task",1,"red",2),Change("edit","task",9,"red",1))',
            'life.run(Tampering("swap"))',
        ),
    ),
    Known(
        "the order is always ignored",
        ("order",),
        (
            'life.run(Served((Fault("ignore_order"),)))',
            "life.wait(3)",
            'life.change(Change("edit","task",0,"a",3),Change("edit","task",5,"b",3),Change("edit","task",12,"c",3),Change("edit","task",20,"d",3))',
            'life.run(Served((Fault("ignore_order"),)))',
            "life.wait(26)",
            'life.change(Change("edit","task",17,"k",3))',
            'life.run(Served((Fault("ignore_order"),)))',
        ),
    ),
    Known(
        "a run takes place in 2099",
        ("wild clock",),
        (
            "life.run()",
            "life.run(Clock(38368800.0))",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run()",
        ),
    ),
    Known(
        "a week after a run in 2099",
        ("wild clock", "weekly reads"),
        ("life.run()", "life.run(Clock(38368800.0))", "life.wait(200)", "life.run()", "life.wait(200)", "life.run()"),
    ),
    Known(
        "a run takes place in 2000",
        ("wild clock",),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run(Clock(-13665600.0))",
            "life.wait(3)",
            'life.change(Change("edit","task",1,"green",30))',
            "life.run()",
        ),
    ),
    Known(
        "what is new is deleted while it is read",
        ("moves",),
        (
            "life.run()",
            "life.wait(1)",
            'life.change(*[Change("insert","task",i,"n",1) for i in range(8)])',
            'life.run(Moves(((6,(Change("delete","task",31,"x",0),Change("delete","task",30,"x",0))),)))',
        ),
        stood=False,
    ),
    Known(
        "the list is empty every second night",
        ("omissions", "wrong totals"),
        (
            "life.run()",
            'life.run(Setting("full",True),Served((Fault("empty",entity="task"),Fault("wrong_total",-24,entity="task")),Honesty.LIES))',
            "life.run()",
            'life.run(Setting("full",True),Served((Fault("empty",entity="task"),Fault("wrong_total",-24,entity="task")),Honesty.LIES))',
        ),
    ),
    Known(
        "half of the rows are deleted, and then the list is empty",
        ("mass", "omissions", "wrong totals"),
        (
            "life.run()",
            'life.change(Change("mass","task",0,"x",1))',
            "life.wait(1)",
            "life.run()",
            'life.run(Setting("full",True),Served((Fault("empty",entity="task"),Fault("wrong_total",-24,entity="task")),Honesty.LIES))',
        ),
    ),
    Known("a commit of a first load fails", ("failing commit",), ('life.run(Failing("commit",3))',)),
    Known(
        "a commit fails",
        ("failing commit",),
        ("life.run()", 'life.change(Change("edit","task",1,"red",2))', 'life.run(Failing("commit",2))'),
    ),
    Known(
        "runs are killed between two writes and their machines lost",
        ("killed at a write", "machine"),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2),Change("delete","task",3,"x",1))',
            'life.run(Kill("write",3),NewMachine())',
            'life.run(Kill("write",5),NewMachine())',
            'life.run(Kill("write",7),NewMachine())',
            'life.run(Kill("write",9),NewMachine())',
        ),
    ),
    Known(
        "a table changes its route for a night",
        ("routes",),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2))',
            "life.run(Setting('routes',{'tasks':'/api/v1/work','initiatives':'/api/client/live/initiatives'}))",
            'life.change(Change("edit","task",1,"green",30))',
        ),
    ),
    Known(
        "the server's date is a month behind",
        ("their clock",),
        (
            "life.run()",
            'life.change(Change("edit","task",1,"red",2))',
            'life.run(Served((Fault("date_off",-3e6),)))',
            'life.change(Change("edit","task",1,"green",30))',
            "life.run()",
        ),
    ),
    Known(
        "a total is too small",
        ("wrong totals",),
        ("life.run()", 'life.run(Served((Fault("wrong_total",-20),),Honesty.BLIND))'),
    ),
    Known(
        "the first total is too small",
        ("wrong totals",),
        ('life.run(Served((Fault("wrong_total",-20),),Honesty.BLIND))',),
    ),
    Known(
        "a list lacks rows, and ids are ignored",
        ("ignored ids", "omissions"),
        (
            "life.run()",
            "life.wait(200)",
            'life.run(Served((Fault("ignore_ids"),)),Served((Fault("hidden",entity="task"),),Honesty.LIES))',
        ),
    ),
    Known(
        "a list lacks rows, and ids are refused",
        ("refused", "omissions"),
        (
            "life.run()",
            "life.wait(200)",
            'life.run(Served((Fault("refuse","ids"),)),Served((Fault("hidden"),),Honesty.LIES))',
        ),
    ),
)
