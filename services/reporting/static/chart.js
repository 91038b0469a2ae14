// Draws the table of consumption by window as stacked columns, from the table's numbers, without a request.
"use strict";

(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const RIGHT = 96;
  let drawn = null;
  let redraw = () => {};

  function read() {
    const table = document.getElementById("usage-table");
    const names = [...table.querySelectorAll("thead th")].slice(1, -1);
    const rows = [...table.querySelectorAll("tbody tr")];
    return {
      windows: rows.map((row) => row.dataset.short),
      products: names.map((cell, index) => ({
        name: cell.textContent.trim(),
        color: getComputedStyle(cell.querySelector(".hue")).backgroundColor,
        values: rows.map((row) => Number(row.dataset.cells.split(",")[index])),
      })),
    };
  }

  function options(limits) {
    const { windows, products } = read();
    const axis = {
      axisLine: { lineStyle: { color: style("--edge") } }, axisTick: { show: false }, axisLabel: { color: style("--muted") },
    };
    const series = products.map((product) => ({
      type: "bar", stack: "all", name: product.name, data: product.values, barMaxWidth: 40,
      itemStyle: { color: product.color, borderColor: style("--ground"), borderWidth: 0.5 },
    }));
    return {
      animation: !calm.matches,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: style("--text") },
      grid: { left: 8, right: RIGHT, top: 16, bottom: 8, containLabel: true },
      xAxis: { type: "category", data: windows, ...axis },
      yAxis: {
        type: "value", max: (range) => Math.max(range.max, ...limits.map((one) => one.value)), ...axis,
        splitLine: { lineStyle: { color: style("--line") } },
      },
      series,
    };
  }

  /** Draw purchased and allocated units as horizontal lines; close labels are moved apart. */
  function drawLimits(holder, limits) {
    holder.querySelectorAll(".limit").forEach((one) => one.remove());
    const right = holder.clientWidth - RIGHT;
    const first = drawn.convertToPixel({ xAxisIndex: 0 }, 0);
    const left = first - (right - first) / (2 * read().windows.length - 1);
    let last = Infinity;
    for (const limit of [...limits].sort((a, b) => a.value - b.value)) {
      const top = drawn.convertToPixel({ yAxisIndex: 0 }, limit.value);
      const mark = document.createElement("span");
      mark.className = `limit ${limit.name}`;
      mark.style.top = `${top}px`;
      mark.style.left = `${left}px`;
      const label = document.createElement("span");
      label.textContent = `${limit.name} ${limit.value.toLocaleString("en")}`;
      if (last - top < 14) label.className = "above";
      mark.append(label);
      holder.append(mark);
      last = top;
    }
  }

  function showReading(event) {
    const reading = document.getElementById("usage-reading");
    reading.textContent = `${event.name}: ${event.seriesName} ${event.value.toLocaleString("en")}`;
  }

  window.drawUsage = (holder) => {
    const limits = ["purchased", "allocated"].map((name) => ({ name, value: Number(holder.dataset[name]) }));
    holder.hidden = false;
    drawn?.dispose();
    drawn = window.echarts.init(holder);
    drawn.setOption(options(limits));
    drawn.on("mouseover", showReading);
    drawLimits(holder, limits);
    redraw = () => { drawn.resize(); drawLimits(holder, limits); };
  };

  window.addEventListener("resize", () => redraw());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const holder = document.getElementById("usage-chart");
    if (drawn && holder) window.drawUsage(holder);
  });
})();
