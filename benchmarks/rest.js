// One request of dask-gateway's REST API, over and over.
import http from "k6/http";

export const options = { discardResponseBodies: true, summaryTrendStats: ["med", "p(99)"] };

const params = { headers: { Authorization: __ENV.AUTHORIZATION }, responseCallback: http.expectedStatuses(200) };

export default function () {
  if (http.get(__ENV.URL, params).status !== 200) throw new Error("not answered");
}
