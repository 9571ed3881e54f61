// What is wrong with the looks of a part of a page: [fault, ...]. Texts lie over one another or over an input, are cut
// off, or can hardly be read on their background.
(root, contrastOf) => {
  const faults = [];
  const visible = element => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const boxes = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || !visible(parent) || parent.closest("option, style, script")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) boxes.push({ box, node, name: node.data.trim() });
  }
  for (const input of root.querySelectorAll("input, select, textarea, button"))
    if (visible(input)) {
      boxes.push({ box: input.getBoundingClientRect(), node: input, name: input.value });
      if (input.scrollWidth > input.clientWidth + 1) faults.push(`cut off: ${input.value}`);
    }
  boxes.forEach((one, n) => boxes.slice(n + 1).forEach(other => {
    if (one.node === other.node || one.node.contains(other.node) || other.node.contains(one.node)) return;
    const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
    const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
    if (wide > 1 && high > 3) faults.push(`"${one.name}" lies over "${other.name}"`);
  }));
  for (const element of root.querySelectorAll("*"))
    if (visible(element) && getComputedStyle(element).overflowX === "hidden" && element.innerText?.trim()
        && element.scrollWidth > element.clientWidth + 1) faults.push(`cut off: ${element.innerText}`);

  const parse = text => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((c, n) => c * a + below[n] * (1 - a));
  const background = element => {
    if (!element) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    return colour[3] === undefined ? colour : over(colour, background(element.parentElement));
  };
  const light = colour => {
    const [r, g, b] = colour.map(c => c / 255).map(c => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const { node, name } of boxes) {
    const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (!element.closest(contrastOf)) continue;
    const below = background(element), text = over(parse(getComputedStyle(element).color), below);
    const [dark, bright] = [light(below), light(text)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(1)}: ${name}`);
  }
  return [...new Set(faults)];
}
