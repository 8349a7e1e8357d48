// The views in the order of the bar; each module exports {path, title, icon, View} and perhaps `needs`.
import * as compare from "./views/compare.js";
import * as duplicates from "./views/duplicates.js";
import * as map from "./views/map.js";
import * as report from "./views/report.js";
import * as review from "./views/review.js";
import * as search from "./views/search.js";
import * as threshold from "./views/threshold.js";

export const VIEWS = [compare, search, threshold, map, review, duplicates, report];
