"""Contents of a panel, and Grafana's own builders that draw it."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders import prometheus as query
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
FULL = 24
EVERY = "{<select>}"
SELECT = 'namespace=~"$namespace",pod=~"$pod"'
"""Selector of every query of a dashboard; `<select>` in a query stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An expression and the name of its series."""

    expr: str
    legend: str = ""

    def target(self, ref_id: str) -> query.Dataquery:
        """The builder's query by its id in the panel; exemplars are shown where the metric has them."""
        found = query.Dataquery().expr(self.expr.replace("<select>", SELECT)).legend_format(self.legend or "__auto")
        found = found.ref_id(ref_id)
        return found.exemplar("_bucket" in self.expr).range().datasource(SOURCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: title, what a reader learns from it, unit, and queries."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 12
    single: bool = False
    """One big value instead of a graph."""
    maximum: float | None = None
    signed: bool = False
    """True if values may be below zero."""

    def build(self, number: int) -> Any:
        """The builder of the panel, by its id in the dashboard."""
        return (self._stat() if self.single else self._graph()).id(number)

    def _graph(self) -> timeseries.Panel:
        panel = timeseries.Panel().title(self.title).description(self.description).unit(self.unit)
        panel = panel.datasource(SOURCE).span(self.width).height(8).fill_opacity(8).line_width(1)
        if not self.signed:
            panel = panel.min(0)
        if self.maximum is not None:
            panel = panel.max(self.maximum)
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        panel = panel.legend(legend.show_legend(show_legend=True))
        panel = panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        for ref_id, item in zip(string.ascii_uppercase, self.queries, strict=False):
            panel = panel.with_target(item.target(ref_id))
        return panel

    def _stat(self) -> stat.Panel:
        panel = stat.Panel().title(self.title).description(self.description).unit(self.unit)
        panel = panel.datasource(SOURCE).span(self.width).height(4).graph_mode(BigValueGraphMode.AREA)
        panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        for ref_id, item in zip(string.ascii_uppercase, self.queries, strict=False):
            panel = panel.with_target(item.target(ref_id))
        return panel


Rows = Mapping[str, Sequence[Panel]]
"""A dashboard: the panels of each row by its title."""


def quantiles(metric: str, by: str = "") -> list[Query]:
    """p50 and p99 of a histogram, by a label where there is one."""
    group = f"le, {by}" if by else "le"
    label = f" {{{{{by}}}}}" if by else ""
    return [
        Query(
            expr=f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket{EVERY}[$__rate_interval])))",
            legend=f"{name}{label}",
        )
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    ]


def rate(metric: str, by: str, *, more: str = "", name: str = "") -> Query:
    """Events a second, by a label; `name` tells the series of one query from those of another."""
    select = "{<select>" + (f",{more}" if more else "") + "}"
    return Query(expr=f"sum by ({by}) (rate({metric}{select}[$__rate_interval]))", legend=_legend(name, by))


def rise(metric: str, by: str, *, more: str = "", name: str = "") -> Query:
    """Count of something rare in an interval: `rate` sees nothing of a series that begins above zero."""
    selected = f"{metric}{{<select>{',' + more if more else ''}}}"
    began = f"({selected} unless {selected} offset $__rate_interval)"
    return Query(expr=f"sum by ({by}) ({began} or increase({selected}[$__rate_interval]))", legend=_legend(name, by))


def latest(metric: str, by: str, *, how: str = "max", more: str = "", name: str = "") -> Query:
    """A gauge's value, by a label; `name` as in `rate`."""
    select = "{<select>" + (f",{more}" if more else "") + "}"
    return Query(expr=f"{how} by ({by}) ({metric}{select})", legend=_legend(name, by))


def _legend(name: str, by: str) -> str:
    return f"{name} {{{{{by}}}}}".strip()
