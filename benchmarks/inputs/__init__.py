"""Other people's input: kinds of it, each with members that are run and judged.

To add a kind:
1. Open the module of its area: stores, feast, tables, init, gates or serving. `KINDS` at its end lists the kinds.
2. Write a function of an empty folder that writes the input; change the tables of `world` in one place.
3. Make it a `kinds.Member` (its steps, and whether serving or a refusal is right) of a `kinds.Kind` in `KINDS`.
4. Run `python -m benchmarks.inputs --only "PART OF ITS NAME"`; a member that is served is judged by `judge`.
5. Keep it small: one run of `two-tower run` per member.
"""
