/**
 * What the server reports of all topics and schedules, once a second at most. The connection is closed while nobody looks.
 *
 * @typedef {{ group: string, paused: boolean, ephemeral: boolean, scheduled: number, ready: number, leased: number,
 *   blocked: number, dead: number, subscribers: number, readySince: number | null, blockedSince: number | null,
 *   lateness: [number, number] | null, rates: number[] }} Group `lateness`: p50 and p99 of the last minutes, in seconds
 * @typedef {{ engine: string, topic: string, problem: string, durable: boolean, queued: number, maxQueued: number,
 *   lateness: [number, number] | null, groups: Group[] }} Topic
 * @typedef {{ engine: string, status: string, problem: string }} Engine
 * @typedef {{ engine: string, info: any }} Schedule `info` is a ScheduleInfo without its event
 */

import { useEffect, useState } from "preact/hooks";

/** As many as a line in the table shows. */
const KEPT = 60;
const QUIET_MS = 40_000;

/** @param {string} engine @param {string} topic */
const key = (engine, topic) => `${engine}/${topic}`;

class Live {
  /** @type {Map<string, Topic>} */
  topics = new Map();
  /** @type {Map<string, Schedule>} */
  schedules = new Map();
  /** @type {Engine[]} */
  engines = [];
  /** The last rates of what is dispatched, by topic. @type {Map<string, number[]>} */
  samples = new Map();
  /** Grows with every message. */
  version = 0;
  isLoaded = false;
  isConnected = false;
  /** Seconds that the server's clock is ahead. */
  #ahead = 0;
  /** @type {Set<() => void>} */
  #watchers = new Set();
  /** @type {EventSource | null} */
  #source = null;
  #heardAt = 0;

  constructor() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
    setInterval(() => this.#check(), 5_000);
  }

  /** The server's time, in seconds. */
  now() {
    return Date.now() / 1_000 + this.#ahead;
  }

  /** @param {string} engine @param {string} topic */
  find(engine, topic) {
    return this.topics.get(key(engine, topic));
  }

  start() {
    if (this.#source || document.hidden) return;
    const source = new EventSource("/events");
    this.#source = source;
    this.#heardAt = Date.now();
    source.onmessage = (event) => this.#take(JSON.parse(event.data));
    source.onerror = () => this.#connected(false);
    source.addEventListener("signed-out", () => window.dispatchEvent(new Event("signed-out")));
  }

  stop() {
    this.#source?.close();
    this.#source = null;
  }

  /** Call this when something has changed. Returns what ends that. @param {() => void} watcher */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  /** Connect again if the browser has given up, or nothing has come for long. */
  #check() {
    const source = this.#source;
    if (source && (source.readyState === EventSource.CLOSED || Date.now() - this.#heardAt > QUIET_MS)) {
      this.stop();
      this.#connected(false);
      this.start();
    }
  }

  /** @param {{ now: number, first: boolean, engines: Engine[], topics: Topic[], schedules: Schedule[],
   *   removed: [string, string, string?][] }} message `removed` are topics, or schedules of topics */
  #take(message) {
    this.#heardAt = Date.now();
    this.#ahead = message.now - Date.now() / 1_000;
    if (message.first) {
      this.topics = new Map();
      this.schedules = new Map();
      const known = new Set(message.topics.map((topic) => key(topic.engine, topic.topic)));
      for (const topic of this.samples.keys()) if (!known.has(topic)) this.samples.delete(topic);
    }
    for (const topic of message.topics) {
      this.topics.set(key(topic.engine, topic.topic), topic);
      this.#sample(topic);
    }
    for (const schedule of message.schedules) this.schedules.set(key(schedule.engine, schedule.info.schedule.name), schedule);
    for (const [engine, topic, name] of message.removed) {
      if (name) this.schedules.delete(key(engine, name));
      else this.#forget(key(engine, topic));
    }
    this.engines = message.engines;
    this.version += 1;
    this.isLoaded = true;
    this.#connected(true);
  }

  /** @param {string} topic its key */
  #forget(topic) {
    this.topics.delete(topic);
    this.samples.delete(topic);
  }

  /** @param {Topic} topic */
  #sample(topic) {
    const samples = this.samples.get(key(topic.engine, topic.topic)) ?? [];
    this.samples.set(key(topic.engine, topic.topic), samples);
    samples.push(ratesOf(topic)[0]);
    if (samples.length > KEPT) samples.shift();
  }

  /** @param {boolean} isConnected */
  #connected(isConnected) {
    this.isConnected = isConnected;
    for (const watcher of this.#watchers) watcher();
  }
}

/** The rates of a topic: what is dispatched to it, then what its groups deliver, ack and nack. @param {Topic} topic */
export function ratesOf(topic) {
  const dispatched = Math.max(0, ...topic.groups.map((group) => group.rates[0]));
  return [dispatched, ...[1, 2, 3].map((at) => topic.groups.reduce((sum, group) => sum + group.rates[at], 0))];
}

export const live = new Live();

/** The store; the component is drawn again when it has changed, and every second, for the ages. */
export function useLive() {
  const [, draw] = useState(0);
  useEffect(() => {
    const again = () => draw((number) => number + 1);
    const timer = setInterval(again, 1_000);
    const stop = live.watch(again);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, []);
  return live;
}
