"use strict";
// Pixels are shown as squares where they are enlarged. Shrunk that way, rows and columns would be
// left out, and the rest would show a checkerboard that is not in the image.
const sharpen = (image) =>
  image.classList.toggle("enlarged", image.clientWidth * window.devicePixelRatio >= image.naturalWidth);
const sized = new ResizeObserver((entries) => entries.forEach((entry) => sharpen(entry.target)));
for (const image of document.querySelectorAll(".stage img")) {
  image.addEventListener("load", () => sharpen(image));
  sized.observe(image);
}

// The range input is what keyboards and screen readers use; a pointer anywhere on the pictures sets it.
for (const figure of document.querySelectorAll(".compare")) {
  const stage = figure.querySelector(".stage");
  const range = stage.querySelector("input");
  const images = [...stage.querySelectorAll("img")];
  const sides = { left: figure.querySelector("[data-side=left]"), right: figure.querySelector("[data-side=right]") };

  const place = (percent) => stage.style.setProperty("--at", percent + "%");
  const point = (event) => {
    const box = stage.getBoundingClientRect();
    const percent = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    range.value = percent; // rounded to the input's step; the pictures follow the pointer itself
    place(percent);
  };
  const choose = () => {
    for (const [index, image] of images.entries()) {
      image.classList.toggle("left", index === Number(sides.left.value));
      image.classList.toggle("right", index === Number(sides.right.value));
    }
    const names = [sides.left, sides.right].map((side) => side.selectedOptions[0].text);
    range.setAttribute("aria-label", `Border between ${names[0]} on the left and ${names[1]} on the right`);
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    point(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) point(event);
  });
  range.addEventListener("input", () => place(range.value));
  for (const side of Object.values(sides)) side.addEventListener("change", choose);
  place(range.value);
  choose();
}
