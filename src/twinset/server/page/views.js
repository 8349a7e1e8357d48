// The views in the order of the bar; each module exports {path, title, icon, View} and perhaps `needs`.
import * as compare from "./views/compare.js";
import * as report from "./views/report.js";

export const VIEWS = [compare, report];
