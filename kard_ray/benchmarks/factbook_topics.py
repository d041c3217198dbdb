"""Which fields of the Factbook share a passage, and the sentence that states each of them.

A topic groups small fields of one section that a question may ask about together. ``{c}`` is the country
inside a sentence, ``{v}`` the value; a template that begins with a comma continues the sentence before it.
Fields that no topic lists become a topic of their own, written as "label of country: value."
"""

from __future__ import annotations

from dataclasses import dataclass

_GEO = "Geography"
_PEOPLE = "People and Society"
_ENV = "Environment"
_GOV = "Government"
_ECO = "Economy"
_ENERGY = "Energy"
_COM = "Communications"
_TRANS = "Transportation"
_MIL = "Military and Security"


@dataclass(frozen=True, slots=True)
class Topic:
    """One passage's worth of fields: ``fields`` are (path within the section, sentence template) pairs.

    The short value of the field ``named``, if there is one, is added to the title: "Chile: capital Santiago".
    """

    slug: str
    title: str
    section: str
    fields: tuple[tuple[str, str], ...]
    named: str = ""


def _the(noun: str) -> str:
    return f"The {noun} of {{c}} is {{v}}."


TOPICS: tuple[Topic, ...] = (
    Topic("location", "location", _GEO, (
        ("Location", "Location of {c}: {v}."),
        ("Geographic coordinates", "The geographic coordinates of {c} are {v}."),
        ("Map references", "On maps, {c} is found under the region {v}."),
    )),
    Topic("area", "area", _GEO, (
        ("Area|total", _the("total area")),
        ("Area|land", _the("land area")),
        ("Area|water", _the("water area")),
        ("Area", "Area of {c}: {v}."),
        ("Area|note", "Area note: {v}."),
    )),
    Topic("borders", "land borders", _GEO, (
        ("Land boundaries|total", _the("total land border length")),
        ("Land boundaries|border countries", "Countries that share a land border with {c}: {v}."),
        ("Land boundaries", "Land borders of {c}: {v}."),
        ("Land boundaries|note", "Land borders note: {v}."),
    )),
    Topic("coastline", "coastline and maritime claims", _GEO, (
        ("Coastline", _the("coastline length")),
        ("Coastline|note", "Coastline note: {v}."),
        ("Maritime claims|territorial sea", "Maritime claims of {c}: territorial sea {v}."),
        ("Maritime claims|contiguous zone", ", contiguous zone {v}"),
        ("Maritime claims|exclusive economic zone", ", exclusive economic zone {v}"),
        ("Maritime claims|continental shelf", ", continental shelf {v}"),
        ("Maritime claims", "Maritime claims of {c}: {v}."),
        ("Maritime claims|note", "Maritime claims note: {v}."),
    )),
    Topic("climate", "climate and terrain", _GEO, (
        ("Climate", "Climate of {c}: {v}."),
        ("Terrain", "Terrain of {c}: {v}."),
    )),
    Topic("elevation", "elevation and highest point", _GEO, (
        ("Elevation|highest point", _the("highest point")),
        ("Elevation|lowest point", _the("lowest point")),
        ("Elevation|mean elevation", _the("mean elevation")),
        ("Elevation|note", "Elevation note: {v}."),
    ), named="Elevation|highest point"),
    Topic("natural-resources", "natural resources", _GEO, (
        ("Natural resources", "Natural resources of {c}: {v}."),
        ("Natural resources|note", "Natural resources note: {v}."),
        ("Irrigated land", "The irrigated land of {c} covers {v}."),
    )),
    Topic("land-use", "land use and forest", _GEO, (
        ("Land use|agricultural land", _the("share of agricultural land")),
        ("Land use|agricultural land: arable land", ", arable land {v}"),
        ("Land use|agricultural land: permanent crops", ", permanent crops {v}"),
        ("Land use|agricultural land: permanent pasture", ", permanent pasture {v}"),
        ("Land use|forest", _the("share of forest land")),
        ("Land use|other", _the("share of other land")),
    )),
    Topic("population", "total population and its growth", _PEOPLE, (
        ("Population|total", _the("total population")),
        ("Population|male", ", male {v}"),
        ("Population|female", ", female {v}"),
        ("Population growth rate", _the("population growth rate")),
        ("Population|note", "Population note: {v}."),
    )),
    Topic("people", "nationality and ethnic groups", _PEOPLE, (
        ("Nationality|noun", "People from {c} are called {v}."),
        ("Nationality|adjective", "The adjective for {c} is {v}."),
        ("Ethnic groups", "Ethnic groups of {c}: {v}."),
        ("Ethnic groups|note", "Ethnic groups note: {v}."),
    )),
    Topic("languages", "official languages", _PEOPLE, (
        ("Languages", "Languages of {c}: {v}."),
        ("Languages|note", "Languages note: {v}."),
    )),
    Topic("religions", "religions", _PEOPLE, (
        ("Religions", "Religions of {c}: {v}."),
        ("Religions|note", "Religions note: {v}."),
    )),
    Topic("median-age", "median age and sex ratio", _PEOPLE, (
        ("Median age|total", _the("median age")),
        ("Median age|male", ", men {v}"),
        ("Median age|female", ", women {v}"),
        ("Sex ratio|at birth", _the("sex ratio at birth")),
        ("Sex ratio|total population", ", in the total population {v}"),
    )),
    Topic("births-deaths", "birth rate, death rate and infant mortality", _PEOPLE, (
        ("Birth rate", _the("birth rate")),
        ("Death rate", _the("death rate")),
        ("Net migration rate", _the("net migration rate")),
        ("Infant mortality rate|total", _the("infant mortality rate")),
        ("Infant mortality rate|male", ", boys {v}"),
        ("Infant mortality rate|female", ", girls {v}"),
        ("Maternal mortality ratio", _the("maternal mortality ratio")),
    )),
    Topic("urbanization", "urban population and major cities", _PEOPLE, (
        ("Urbanization|urban population", _the("urban share of the population")),
        ("Urbanization|rate of urbanization", _the("rate of urbanization")),
        ("Major urban areas - population", "Major urban areas of {c} by population: {v}."),
    )),
    Topic("life-expectancy", "life expectancy", _PEOPLE, (
        ("Life expectancy at birth|total population", _the("life expectancy at birth")),
        ("Life expectancy at birth|male", ", men {v}"),
        ("Life expectancy at birth|female", ", women {v}"),
    )),
    Topic("fertility", "fertility", _PEOPLE, (
        ("Total fertility rate", _the("total fertility rate")),
        ("Gross reproduction rate", _the("gross reproduction rate")),
        ("Mother's mean age at first birth", "In {c} the mother's mean age at first birth is {v}."),
        ("Mother's mean age at first birth|note", "Mother's mean age note: {v}."),
        ("Currently married women (ages 15-49)", "Of women aged 15-49 in {c}, {v} are married."),
    )),
    Topic("health", "health care", _PEOPLE, (
        ("Health expenditure|Health expenditure (as % of GDP)", _the("health expenditure")),
        ("Health expenditure|Health expenditure (as % of national budget)", "Health takes {v} in {c}."),
        ("Physician density", _the("physician density")),
        ("Hospital bed density", _the("hospital bed density")),
        ("Obesity - adult prevalence rate", _the("adult obesity rate")),
        ("Tobacco use|total", _the("rate of tobacco use")),
        ("Tobacco use|male", ", men {v}"),
        ("Tobacco use|female", ", women {v}"),
    )),
    Topic("education", "education and literacy", _PEOPLE, (
        ("Education expenditure|Education expenditure (% GDP)", _the("education expenditure")),
        ("Education expenditure|Education expenditure (% national budget)", "Education takes {v} in {c}."),
        ("Literacy|total population", _the("literacy rate")),
        ("Literacy|male", ", men {v}"),
        ("Literacy|female", ", women {v}"),
        ("School life expectancy (primary to tertiary education)|total", _the("school life expectancy")),
        ("School life expectancy (primary to tertiary education)|male", ", boys {v}"),
        ("School life expectancy (primary to tertiary education)|female", ", girls {v}"),
    )),
    Topic("emissions", "carbon dioxide emissions", _ENV, (
        ("Carbon dioxide emissions|total emissions", _the("level of carbon dioxide emissions")),
        ("Carbon dioxide emissions|from coal and metallurgical coke", ", from coal {v}"),
        ("Carbon dioxide emissions|from petroleum and other liquids", ", from petroleum {v}"),
        ("Carbon dioxide emissions|from consumed natural gas", ", from natural gas {v}"),
        ("Carbon dioxide emissions", _the("level of carbon dioxide emissions")),
        ("Particulate matter emissions", _the("level of particulate matter emissions")),
    )),
    Topic("government-type", "government type, legal system and citizenship", _GOV, (
        ("Government type", "The government type of {c} is {v}."),
        ("Government type|note", "Government type note: {v}."),
        ("Dependency status", "Dependency status of {c}: {v}."),
        ("Dependency status|note", "Dependency status note: {v}."),
        ("Legal system", "Legal system of {c}: {v}."),
        ("Legal system|note", "Legal system note: {v}."),
        ("Citizenship|citizenship by birth", "Citizenship of {c} by birth: {v}."),
        ("Citizenship|citizenship by descent only", "Citizenship of {c} by descent only: {v}."),
        ("Citizenship|dual citizenship recognized", "Dual citizenship recognized: {v}."),
        ("Citizenship|residency requirement for naturalization", "Residency before naturalization: {v}."),
        ("Citizenship", "Citizenship of {c}: {v}."),
        ("Citizenship|note", "Citizenship note: {v}."),
        ("Suffrage", "Suffrage in {c}: {v}."),
        ("Suffrage|note", "Suffrage note: {v}."),
    )),
    Topic("capital", "capital", _GOV, (
        ("Capital|name", "The capital of {c} is {v}."),
        ("Capital|geographic coordinates", "The coordinates of this capital are {v}."),
        ("Capital|time difference", "The time difference is {v}."),
        ("Capital|daylight saving time", "Daylight saving time: {v}."),
        ("Capital|etymology", "Origin of the capital's name: {v}."),
        ("Capital|note", "Capital note: {v}."),
        ("Capital|time zone note", "Time zones: {v}."),
    ), named="Capital|name"),
    Topic("independence", "independence and national holiday", _GOV, (
        ("Independence", "Independence of {c}: {v}."),
        ("Independence|note", "Independence note: {v}."),
        ("National holiday", "National holiday of {c}: {v}."),
        ("National holiday|note", "National holiday note: {v}."),
    )),
    Topic("symbols", "national symbols, colors and anthem", _GOV, (
        ("National symbol(s)", "National symbol of {c}: {v}."),
        ("National color(s)", "National colors of {c}: {v}."),
        ("National anthem(s)|title", "National anthem of {c}: {v}."),
        ("National anthem(s)|lyrics/music", "Anthem lyrics and music: {v}."),
        ("National anthem(s)|history", "Anthem history: {v}."),
        ("National anthem(s)|note", "Anthem note: {v}."),
    )),
    Topic("gdp", "GDP and GDP per capita", _ECO, (
        ("Real GDP (purchasing power parity)", _the("GDP at purchasing power parity")),
        ("Real GDP growth rate", _the("GDP growth rate")),
        ("Real GDP per capita", _the("GDP per capita")),
        ("GDP (official exchange rate)", _the("GDP at the official exchange rate")),
    )),
    Topic("inflation", "inflation, labor force and unemployment", _ECO, (
        ("Inflation rate (consumer prices)", _the("inflation rate")),
        ("Labor force", "The labor force of {c} is {v} people."),
        ("Unemployment rate", _the("unemployment rate")),
        ("Youth unemployment rate (ages 15-24)|total", _the("youth unemployment rate")),
        ("Youth unemployment rate (ages 15-24)|male", ", men {v}"),
        ("Youth unemployment rate (ages 15-24)|female", ", women {v}"),
    )),
    Topic("gdp-by-sector", "GDP by sector: agriculture, industry, services", _ECO, (
        ("GDP - composition, by sector of origin|agriculture", "Agriculture makes up {v} of the GDP of {c}."),
        ("GDP - composition, by sector of origin|industry", "Industry makes up {v} of the GDP of {c}."),
        ("GDP - composition, by sector of origin|services", "Services make up {v} of the GDP of {c}."),
    )),
    Topic("products", "agricultural products and industries", _ECO, (
        ("Agricultural products", "Agricultural products of {c}: {v}."),
        ("Industries", "Industries of {c}: {v}."),
        ("Industrial production growth rate", _the("industrial production growth rate")),
    )),
    Topic("income", "poverty and income inequality", _ECO, (
        ("Population below poverty line", "In {c} the share of people below the poverty line is {v}."),
        ("Gini Index coefficient - distribution of family income", _the("Gini index of income inequality")),
        ("Household income or consumption by percentage share|lowest 10%",
         "In {c} the lowest 10% of households have an income share of {v}."),
        ("Household income or consumption by percentage share|highest 10%", ", the highest 10% one of {v}"),
        ("Remittances", "Remittances to {c} are {v}."),
    )),
    Topic("budget", "budget, taxes and public debt", _ECO, (
        ("Budget|revenues", "The budget revenues of {c} are {v}."),
        ("Budget|expenditures", "The budget expenditures of {c} are {v}."),
        ("Public debt", "The public debt of {c} is {v}."),
        ("Public debt|note", "Public debt note: {v}."),
        ("Taxes and other revenues", "Taxes and other revenues of {c} are {v}."),
    )),
    Topic("exports", "value of exports, export commodities and export partners", _ECO, (
        ("Exports", _the("value of exports")),
        ("Exports - commodities", "Main export commodities of {c}: {v}."),
        ("Exports - partners", "Main export partners of {c}: {v}."),
    )),
    Topic("imports", "value of imports, import commodities and import partners", _ECO, (
        ("Imports", _the("value of imports")),
        ("Imports - commodities", "Main import commodities of {c}: {v}."),
        ("Imports - partners", "Main import partners of {c}: {v}."),
    )),
    Topic("currency", "currency, reserves and external debt", _ECO, (
        ("Exchange rates|Currency", "The currency of {c} is {v}."),
        ("Exchange rates", "The exchange rate of {c} per US dollar is {v}."),
        ("Exchange rates|note", "Exchange rate note: {v}."),
        ("Current account balance", _the("current account balance")),
        ("Reserves of foreign exchange and gold", "The foreign exchange and gold reserves of {c} are {v}."),
        ("Debt - external", _the("external debt")),
    )),
    Topic("electricity", "electricity", _ENERGY, (
        ("Electricity access|electrification - total population", "Of the population of {c}, {v} has electricity."),
        ("Electricity|installed generating capacity", _the("electricity generating capacity")),
        ("Electricity|consumption", _the("electricity consumption")),
        ("Electricity|exports", "Electricity exports of {c} are {v}."),
        ("Electricity|imports", "Electricity imports of {c} are {v}."),
        ("Electricity|transmission/distribution losses", "Transmission losses in {c} are {v}."),
    )),
    Topic("internet", "internet users, telephones and internet country code", _COM, (
        ("Internet country code", "The internet country code of {c} is {v}."),
        ("Internet country code|note", "Internet country code note: {v}."),
        ("Internet users|percent of population", _the("share of internet users in the population")),
        ("Broadband - fixed subscriptions|total", _the("number of fixed broadband subscriptions")),
        ("Broadband - fixed subscriptions|subscriptions per 100 inhabitants", ", per 100 inhabitants {v}"),
        ("Telephones - fixed lines|total subscriptions", _the("number of fixed telephone lines")),
        ("Telephones - fixed lines|subscriptions per 100 inhabitants", ", per 100 inhabitants {v}"),
        ("Telephones - mobile cellular|total subscriptions", _the("number of mobile telephone subscriptions")),
        ("Telephones - mobile cellular|subscriptions per 100 inhabitants", ", per 100 inhabitants {v}"),
    ), named="Internet country code"),
    Topic("airports", "airports, railways and aircraft", _TRANS, (
        ("Airports", _the("number of airports")),
        ("Heliports", _the("number of heliports")),
        ("Civil aircraft registration country code prefix", _the("civil aircraft registration prefix")),
        ("Railways|total", _the("railway length")),
        ("Railways|note", "Railways note: {v}."),
    )),
    Topic("ships", "merchant ships and ports", _TRANS, (
        ("Merchant marine|total", _the("number of merchant ships")),
        ("Merchant marine|by type", "Merchant ships of {c} by type: {v}."),
        ("Ports|total ports", _the("number of ports")),
        ("Ports|large", ", large {v}"),
        ("Ports|medium", ", medium {v}"),
        ("Ports|small", ", small {v}"),
        ("Ports|very small", ", very small {v}"),
        ("Ports|ports with oil terminals", ", with oil terminals {v}"),
        ("Ports|key ports", "Key ports of {c}: {v}."),
    )),
    Topic("military", "military expenditures and personnel", _MIL, (
        ("Military expenditures", "The military expenditures of {c} are {v}."),
        ("Military and security service personnel strengths", "Military personnel of {c}: {v}."),
        ("Military and security service personnel strengths|note", "Personnel note: {v}."),
        ("Military deployments", "Military deployments of {c}: {v}."),
    )),
)  # fmt: skip

# Fields left out: lists of acronyms, holders of posts, addresses, court and amendment procedure, and prose
# that repeats other fields. They are about 40 % of the book and answer no question of the benchmark.
OMITTED_FIELDS = frozenset(
    {
        f"{_GEO}|Area - comparative",  # "slightly larger than New Mexico": found by every question of size
        f"{_COM}|Broadcast media",
        f"{_ECO}|GDP - composition, by end use",
        f"{_ENV}|Total water withdrawal",
        f"{_ENV}|Waste and recycling",
        f"{_ENV}|Methane emissions",
        f"{_GOV}|Administrative divisions",
        f"{_GOV}|Diplomatic representation from the US",
        f"{_GOV}|Diplomatic representation in the US",
        f"{_GOV}|International law organization participation",
        f"{_GOV}|International organization participation",
        f"{_GOV}|Judicial branch",
        f"{_GOV}|Legislative branch - lower chamber",
        f"{_GOV}|Legislative branch - upper chamber",
        f"{_GOV}|National coat of arms",
        f"{_GOV}|Political parties",
        f"{_ENV}|International environmental agreements",
        f"{_MIL}|Military - note",
        f"{_MIL}|Military and security forces",
        f"{_MIL}|Military equipment inventories and acquisitions",
        f"{_MIL}|Military service age and obligation",
        f"{_PEOPLE}|Alcohol consumption per capita",
        f"{_PEOPLE}|Drinking water source",
        f"{_PEOPLE}|Sanitation facility access",
        "Space|Key space-program milestones",
        "Space|Space program overview",
        "Space|Space agency/agencies",
    }
)
OMITTED_LEAVES = frozenset(
    {
        f"{_GOV}|Constitution|amendment process",
        f"{_GOV}|Executive branch|election results",
        f"{_GOV}|Executive branch|election/appointment process",
        f"{_GOV}|Legislative branch - lower chamber|parties elected and seats per party",
        f"{_GOV}|Legislative branch - upper chamber|parties elected and seats per party",
        f"{_GOV}|Legislative branch|parties elected and seats per party",
    }
)
