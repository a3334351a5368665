// Runs once in the element of the view: names what is under the pointer, passes on which face was clicked, and takes
// pictures pasted with Ctrl-V, which Gradio's component takes only from its button.
const name = (event) => {
    const label = element.querySelector("output");
    if (!label) return;
    const part = event.target.closest("[data-name]");
    label.hidden = !part;
    if (!part) return;
    label.textContent = part.dataset.name;
    const frame = label.parentElement.getBoundingClientRect();
    const x = event.clientX - frame.left;
    label.style.top = `${event.clientY - frame.top}px`;
    label.style.left = x < frame.width / 2 ? `${x}px` : "";
    label.style.right = x < frame.width / 2 ? "" : `${frame.width - x + 24}px`;
};
element.addEventListener("mousemove", name);
element.addEventListener("mouseout", name);
element.addEventListener("click", (event) => {
    name(event);
    if (!element.querySelector("svg")) return;
    const face = event.target.closest("[data-face]");
    trigger("select", { face: face ? face.dataset.face : "all" });
});
document.addEventListener("paste", (event) => {
    const photo = document.querySelector("#photo .upload-container");
    if (!photo?.offsetParent || !event.clipboardData.files.length) return; // another tab is open, or this is text
    const dataTransfer = new DataTransfer(); // the event's own is empty once Gradio reads it
    for (const file of event.clipboardData.files) dataTransfer.items.add(file);
    photo.dispatchEvent(new DragEvent("drop", { dataTransfer }));
});
