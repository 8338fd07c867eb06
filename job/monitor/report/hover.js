// Show the values of each line at the step nearest to the pointer.
const tip = document.getElementById("tip");
for (const svg of document.querySelectorAll("svg.lines")) {
  const { frame, lines } = JSON.parse(svg.dataset.chart);
  const [width, height] = svg.getAttribute("viewBox").split(" ").slice(2).map(Number);
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const target = frame[0] + (x - LEFT) / (width - LEFT - RIGHT) * (frame[1] - frame[0]);
    const near = lines.map(([name, colour, steps, values]) => {
      let best = 0;
      steps.forEach((step, i) => { if (Math.abs(step - target) < Math.abs(steps[best] - target)) best = i; });
      return { name, colour, step: steps[best], value: values[best] };
    });
    const step = near.reduce((a, b) => Math.abs(b.step - target) < Math.abs(a.step - target) ? b : a).step;
    const at = LEFT + (step - frame[0]) / (frame[1] - frame[0]) * (width - LEFT - RIGHT);
    for (const [name, value] of [["x1", at], ["x2", at], ["y1", 10], ["y2", height - 26]]) cursor.setAttribute(name, value);
    tip.replaceChildren();
    tip.append(`step ${step}`);
    for (const { name, colour, value } of near) {
      const row = document.createElement("div"), mark = document.createElement("i");
      mark.style.setProperty("--c", colour);
      row.append(mark, `${name} ${Number(value.toPrecision(4))}`);
      tip.append(row);
    }
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = event.clientY + 14 + "px";
  });
  svg.addEventListener("pointerleave", () => { tip.style.display = "none"; cursor.removeAttribute("x1"); });
}
