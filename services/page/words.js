// The shop's words for what the service calls by its own names.

// Keys come from the service, so no table may answer for "constructor": none has a prototype.
const SOURCES = {
  __proto__: null, repurchase: "Bought before", co_purchase: "Bought together", goes_with: "Goes with",
  pick_up: "This visit", in_session: "This visit", popular: "Popular", popular_by_age: "Popular at this age",
  popular_by_postal_code: "Popular near here", popular_by_product_group: "Popular of its kind", similar: "Alike",
  ease: "Neighbouring articles (EASE)", item_knn: "Neighbouring articles", customer_knn: "Customers alike",
  als: "Hidden tastes (ALS)", pure_svd: "Hidden tastes (PureSVD)", neu_mf: "Hidden tastes (NeuMF)",
  two_tower: "Two towers", variational_autoencoder: "Autoencoder", sponsored: "Sponsored",
};

const FALLBACKS = {
  __proto__: null,
  unknown_customer: "This customer is new to us, so these are what sells well, near them and at their age as far as that is known.",
  no_ranker: "The ranker is not available: this is the order of the sources, not a personal ranking.",
  popular_near_you: "A simpler answer than usual: what is popular near this customer, or at their age.",
  popular: "Only what is popular is available at the moment.",
};

const STAGES = {
  __proto__: null, queue: "Waiting", customer: "Customer", candidates: "Candidates", features: "Features",
  rank: "Ranking", rerank: "Shop’s rules", display: "Words and prices", experiment: "Experiment",
};

const ABOUT = {
  __proto__: null, customer_activity: "customer", customer_profile: "customer", customer_price: "customer",
  customer_taste: "customer", customer_session: "this visit", article_activity: "article", article_profile: "article",
  article_price: "article", customer_article: "customer and article", recency: "timing", taste_match: "taste",
  customer_article_now: "customer and article", postal_code_activity: "area", calendar: "season", best: null,
};

// Only names that do not read as words by themselves.
const FEATURES = {
  __proto__: null, purchase_weight_now: "Bought often and recently", purchase_weight: "How often it was bought",
  gap_ratio: "Due again, by their usual gap", overdue: "Due for a purchase", price_ratio: "Price, against what they pay",
  share_of_days: "Share of their shopping days with it", age_difference: "Age, against its buyers’",
  t_purchases: "Sales", u_customers: "Different buyers", t_price: "Spend", t_transactions: "Purchases",
  u_articles: "Different articles bought", u_active_days: "Days with a purchase", n_sales_channel: "Channels used",
  median_gap_days: "Usual days between purchases", FN: "Gets the fashion news", Active: "May be written to",
  index_group_share: "Share of this section in what they buy", garment_group_share: "Share of such garments in what they buy",
  department_share: "Share of this department in what they buy", colour_share: "Share of this colour in what they buy",
  trend: "Sales of this week against the weeks before", article_availability: "Days on sale of the last 30",
};

export const sentence = (name) => {
  const words = String(name).replaceAll("_", " ").replace(/ name$/, "").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
};

export const sourceWords = (source) => SOURCES[source] ?? sentence(source);
export const fallbackWords = (why) => FALLBACKS[why] ?? `A simpler answer than usual: ${sentence(why)}.`;
export const stageWords = (stage) => STAGES[stage] ?? sentence(stage);

/** `candidates.ease:failed` as a sentence. */
export function troubleWords(trouble) {
  const [where, why = ""] = trouble.split(":");
  const [stage, source] = where.split(".");
  const who = source ? `The source “${sourceWords(source)}”` : `The step “${stageWords(stage)}”`;
  const what = { __proto__: null, slow: "took too long, so it was left out", failed: "failed, so it was left out",
    resting: "has failed often and rests for a while",
    objective: "asks for what this release has not learnt, so it was left out",
    unknown_value: "asks for something that no article of the shop is" }[why];
  return what ? `${who} ${what}.` : `${who} did not do its work (${sentence(why || "no reason given")}).`;
}

/** `article_activity__t_purchases_7d` as "Sales in 7 days (article)". */
export function featureWords(feature) {
  const [view, field = ""] = feature.split("__");
  if (field === "rank" || field === "score") {
    const source = view === "best" ? "any source" : view === "fused" ? "all sources together" : `“${sourceWords(view)}”`;
    return `${field === "rank" ? "Place" : "Strength"} in ${source}`;
  }
  const [, base, days] = field.match(/^(.*?)(?:_(\d+d|lifetime))?$/);
  const span = !days ? "" : days === "lifetime" ? " ever" : ` in ${parseInt(days)} days`;
  return (FEATURES[base] ?? sentence(base || view)) + span + (ABOUT[view] ? ` (${ABOUT[view]})` : "");
}

export const number = (n) => n.toLocaleString("en", { maximumSignificantDigits: 3 });
export const percent = (share) => `${number(100 * share)}\u00a0%`;
/** Prices are in the shop's own unit, from hundredths to thousands. */
export const priceWords = (price) => (Math.abs(price) < 1 ? number(price)
  : price.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
export const dayWords = (day) => new Date(day).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
export const momentWords = (moment) =>
  `${new Date(moment).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" })} UTC`;
export const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
export const looks = ({ product_type: type, colour }) => [type, colour].filter(Boolean).join(", ");
export const short = (id) => (id.length > 16 ? `${id.slice(0, 8)}…` : id);
