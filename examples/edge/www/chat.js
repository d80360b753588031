"use strict";

const state = document.getElementById("state");
const lines = document.getElementById("lines");
let chat;

function connect() {
  chat = new WebSocket(`wss://${location.host}/chat`);
  chat.onopen = () => {
    lines.replaceChildren(); // the last lines come again
    state.textContent = "connected";
  };
  chat.onmessage = (event) => {
    const said = JSON.parse(event.data);
    const line = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = said.name;
    line.append(name, said.text);
    lines.append(line);
  };
  chat.onclose = () => {
    state.textContent = "not connected; trying again";
    setTimeout(connect, 2000);
  };
}

document.getElementById("form").onsubmit = (event) => {
  event.preventDefault();
  const name = document.getElementById("name");
  const text = document.getElementById("text");
  if (chat.readyState === WebSocket.OPEN) {
    chat.send(JSON.stringify({ name: name.value, text: text.value }));
    text.value = "";
  }
};

connect();
