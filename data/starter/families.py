# ruff: noqa: E501  (tables read better unwrapped)
"""Families of facts with the forms in which people ask for them.

`nps` are noun phrases ("the capital of {x}") that fit in any frame ("what is ...", "tell me ..."); `asks` are whole
questions. A star in front means the form is held out: never seen in training, only used to measure. Slots: {x} the
subject, {ax} with a/an, {xs} plural, {a} {b} the halves of a two-part subject and {aw} {bw} their number words.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from data.starter import facts
from data.starter.general import GENERAL

NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
PLURALS = {
    "sheep": "sheep", "goose": "geese", "mouse": "mice", "wolf": "wolves", "fish": "fish", "deer": "deer",
    "fly": "flies", "fox": "foxes", "butterfly": "butterflies", "octopus": "octopuses", "person": "people",
    "bus": "buses", "hero": "heroes",
}  # fmt: skip


@dataclass(frozen=True, eq=False)  # hashed by identity
class Family:
    name: str
    items: dict[str, tuple[str, ...]]
    says: tuple[str, ...]
    nps: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    wrong: dict[str, tuple[str, ...]] = field(default_factory=dict)
    weight: float = 1.0


def a_or_an(word: str) -> str:
    first = word.split()[0]
    if first in {"a", "an", "the"} or word[0].isdigit():
        return word
    return ("an " if word[0].lower() in "aeiou" and not word.startswith(("uni", "eu")) else "a ") + word


def plural(word: str) -> str:
    if word in PLURALS:
        return PLURALS[word]
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def number_word(text: str) -> str:
    return NUMBER_WORDS[int(text)] if text.isdigit() and int(text) < len(NUMBER_WORDS) else text


def render(form: str, subject: str, answer: str = "") -> str:
    """The form with its slots filled; forms with a "|" subject use {a} and {b}."""
    first, _, second = subject.partition("|")
    bare = subject.split(" ", 1)[1] if subject.split()[0] in {"a", "an", "the"} else subject
    return form.format(
        x=subject, ax=a_or_an(subject), xs=plural(subject), bare=bare, a=first, b=second,
        aw=number_word(first), bw=number_word(second), y=answer, ay=a_or_an(answer) if answer else "",
    )  # fmt: skip


# fmt: off
_PLACES = ["Atlantis", "Narnia", "Mordor", "Wakanda", "Utopia", "Gondor", "Lilliput", "Tuvalu", "Nauru", "Comoros", "Vanuatu", "Kiribati", "Palau", "Tonga", "Samoa", "Bhutan", "Suriname", "Guyana", "Benin", "Togo", "Gabon", "Oz", "Neverland", "Hogwarts", "Mars", "Tatooine", "Westeros", "Ruritania", "Freedonia", "Elbonia", "Lesotho", "Eritrea", "Djibouti", "Burundi", "Rwanda", "Brunei", "Fiji", "Belize", "Moldova", "Andorra", "Monaco", "Malta"]
_BEASTS = ["dragon", "unicorn", "griffin", "phoenix", "yeti", "axolotl", "wombat", "platypus", "aardvark", "lemur", "okapi", "tapir", "ibex", "quokka", "narwhal", "manatee", "dodo", "mammoth", "basilisk", "kraken", "hydra", "minotaur", "mermaid", "sphinx", "pegasus", "gnu", "iguana", "capybara", "chinchilla", "pangolin", "dingo", "emu"]
_WORDS = ["quantum", "syntax", "algebra", "neutrino", "plasma", "entropy", "sonata", "mortgage", "inflation", "dividend", "polymer", "enzyme", "algorithm", "lattice", "isotope", "tariff", "sonnet", "fugue", "quasar", "photon"]
_THINGS = ["a zeppelin", "a sitar", "a quasar", "a neutrino", "a gryphon", "a dirigible", "a samovar", "a kimono", "jade", "a snark", "a boojum", "a jabberwock", "a monocle", "a tuxedo", "a gargoyle", "a wombat", "mercury", "a saxophone", "a harpsichord", "a marmoset"]
_ACTS = ["split an atom", "shear a yak", "measure radiation", "tune a harp", "polish a lens", "mint a coin", "weld a pipe", "grind a crystal", "fold a parachute", "bend a neutrino", "brew a potion", "catch a ghost", "open a wormhole", "carve a totem"]
_WORKS = ["trains dragons", "polishes stars", "studies old bones", "tunes harps", "writes laws", "trades stocks", "makes wigs", "counts ghosts", "breeds horses", "guards treasures", "reads palms", "studies insects", "translates books", "sells insurance"]

_SUMS = {f"{a}|{b}": (str(a + b),) for a in range(11) for b in range(11)}
_SUMS |= {f"{a}|{a}": (str(2 * a),) for a in (11, 12, 15, 20, 25, 30, 40, 50)}
_SUMS |= {f"{a}|{b}": (str(a + b),) for a, b in ((10, 20), (20, 10), (12, 5), (15, 5), (20, 5), (10, 15), (20, 30), (11, 4))}
_DIFFERENCES = {f"{a}|{b}": (str(a - b),) for a in range(13) for b in range(min(a, 10) + 1)}
_DIFFERENCES |= {f"{a}|{b}": (str(a - b),) for a, b in ((20, 10), (15, 5), (20, 5), (15, 7), (14, 7), (16, 8), (18, 9), (13, 6), (17, 8), (100, 50))}
_PRODUCTS = {f"{a}|{b}": (str(a * b),) for a in range(1, 11) for b in range(1, 11)}
_PRODUCTS |= {f"{a}|{b}": ("0",) for a, b in ((0, 5), (5, 0), (3, 0), (0, 9), (0, 0))}
_QUOTIENTS = {f"{a * b}|{b}": (str(a),) for a in range(1, 11) for b in (2, 3, 4, 5, 10)}
_BIG = tuple(f"{a}|{b}" for a, b in ((348, 912), (173, 58), (999, 77), (641, 233), (87, 63), (5821, 19), (76, 94), (219, 386), (38, 67), (1024, 512), (83, 79), (4410, 7)))

_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
_AFTER = {x: (ring[(i + 1) % len(ring)],) for ring in (_DAYS, _MONTHS) for i, x in enumerate(ring)}
_BEFORE = {x: (ring[i - 1],) for ring in (_DAYS, _MONTHS) for i, x in enumerate(ring)}
_LETTERS = "BCDEFGHIJKLMNOPQRSTUVWXYZ"
_NEXT_LETTER = {f"{a}": (b,) for a, b in pairwise(_LETTERS)}
_NEXT_NUMBER = {str(n): (str(n + 1),) for n in range(0, 31)} | {"99": ("100",), "49": ("50",)}


def _general() -> list[Family]:
    families = []
    for questions, right, wrong, statement in GENERAL:
        subject = questions[0]
        families.append(Family(f"general: {subject}", {subject: right}, (statement, "{y}."), asks=questions, wrong={subject: wrong}, weight=0.16))
    return families


FAMILIES: tuple[Family, ...] = (
    Family(
        "capital", facts.CAPITAL, ("The capital of {x} is {y}.", "It is {y}.", "{y} is the capital of {x}.", "{y}.", "That is {y}."),
        nps=("the capital of {x}", "the capital city of {x}", "{x}'s capital", "{x} capital", "capital of {x}", "capital {x}", "the main city of {x}", "the name of the capital of {x}",
             "the city where the government of {x} sits", "*the capital in {x}", "*the capital that {x} has", "capital city {x}", "the seat of government of {x}"),
        asks=("which city is the capital of {x}", "what city is the capital of {x}", "what is the capital of the country {x}", "{x} has what capital", "where is the capital of {x}", "where does the government of {x} sit",
              "what is {x}'s capital called", "what do you call the capital of {x}", "how is the capital of {x} called", "which capital belongs to {x}", "the capital of {x} is", "what capital does {x} have", "{x}: capital",
              "*which city is {x}'s capital", "*what is the capital called in {x}", "*{x} has which city as its capital", "which is the capital of {x}", "what's the capital city in {x}", "if i go to the capital of {x} which city is it"),
        unknown=tuple(_PLACES), weight=5.0,
    ),
    Family(
        "continent", facts.CONTINENT, ("{x} is in {y}.", "It is in {y}.", "{y}.", "It lies in {y}."),
        nps=("the continent of {x}", "{x} continent", "continent of {x}", "*the continent for {x}", "the continent where {x} is"),
        asks=("where is {x}", "on which continent is {x}", "in which continent is {x}", "which continent is {x} in", "what continent is {x} in", "what continent is {x} on", "in what part of the world is {x}", "which continent does {x} belong to", "where can i find {x}",
              "where is {x} located", "where does {x} lie", "{x} is in which continent", "{x} where", "*which continent has {x}", "*{x} lies on what continent", "where in the world is {x}", "where is the country {x}"),
        unknown=tuple(_PLACES), weight=1.6,
    ),
    Family(
        "language", facts.LANGUAGE, ("People in {x} speak {y}.", "They speak {y}.", "{y}.", "It is {y}."),
        nps=("the language of {x}", "the language in {x}", "{x} language", "language of {x}", "the language spoken in {x}", "*the main language of {x}", "the language people speak in {x}", "the official language of {x}"),
        asks=("what language do they speak in {x}", "which language is spoken in {x}", "what do people speak in {x}", "what language do people speak in {x}", "which language do people use in {x}", "what is spoken in {x}", "{x} speaks which language",
              "how do people talk in {x}", "{x} speaks what", "what language does {x} use", "*which language do they use in {x}", "*in {x} people speak which language", "what language is used in {x}", "what do they speak in {x}"),
        unknown=tuple(_PLACES), weight=1.4,
    ),
    Family(
        "sound", facts.SOUND, ("A {x} says {y}.", "The {x} says {y}.", "It goes {y}.", "{y}.", "It says {y}."),
        nps=("the sound of {ax}", "the sound {ax} makes", "{x} sound", "the noise {ax} makes", "sound of {ax}", "{x} noise", "*the noise of {ax}", "*the sound made by {ax}", "the sound that {xs} make", "the cry of {ax}"),
        asks=("what does {ax} say", "what does the {x} say", "what sound does {ax} make", "which sound does {ax} make", "what noise does {ax} make", "{x} goes", "{x} says", "how does {ax} sound", "how does {ax} go", "what do {xs} say", "what sound do {xs} make",
              "the {x} goes", "{ax} says", "{x} says what", "how do {xs} talk", "what noise do {xs} make", "*which noise comes from {ax}", "*what does {ax} sound like", "what do you hear from {ax}", "which noise does the {x} make", "{x} goes what", "*{xs} say what"),
        unknown=tuple(_BEASTS), weight=2.0,
    ),
    Family(
        "young", facts.YOUNG, ("A young {x} is called {ay}.", "A baby {x} is {ay}.", "It is {ay}.", "It is called {ay}.", "{y}."),
        nps=("the name of a baby {x}", "a baby {x}", "a young {x}", "the young of {ax}", "the name for a young {x}", "baby {x}", "young {x}", "{x} baby", "the baby of {ax}", "*the word for a baby {x}", "*the name of the young of {ax}", "baby {x} name", "the child of {ax}"),
        asks=("what is a baby {x} called", "what is a young {x} called", "what do you call a baby {x}", "what do you call a young {x}", "how do you call a baby {x}", "what is the baby of {ax} called", "what are baby {xs} called", "what are young {xs} called", "{x} baby is called",
              "a baby {x} is called", "*how is a baby {x} called", "*what do people call a young {x}", "what is the name of the baby of {ax}", "what name has a baby {x}", "which name does a young {x} have"),
        unknown=tuple(_BEASTS), weight=2.0,
    ),
    Family(
        "legs", facts.LEGS, ("A {x} has {y} legs.", "It has {y} legs.", "{y} legs.", "{y}.", "The {x} has {y} legs."),
        nps=("the number of legs of {ax}", "{x} legs", "legs of {ax}", "the number of legs {ax} has", "*the count of legs of {ax}", "number of legs {x}"),
        asks=("how many legs does {ax} have", "how many legs has {ax}", "how many legs do {xs} have", "how many legs does the {x} have", "{ax} has how many legs", "{x} how many legs", "how many legs are on {ax}", "how many legs {x}", "how many feet does {ax} have", "how many legs on {ax}",
              "on how many legs does {ax} stand", "*how many legs will you find on {ax}", "*{xs} have how many legs", "does {ax} have legs and how many", "count the legs of {ax}"),
        unknown=tuple(_BEASTS), weight=1.6,
    ),
    Family(
        "home", facts.HOME, ("A {x} lives here: {y}.", "The home of a {x} is: {y}.", "{y}.", "Its home is: {y}."),
        nps=("the home of {ax}", "the house of {ax}", "{x} home", "the place where {ax} lives", "*the living place of {ax}", "the home of {xs}"),
        asks=("where does {ax} live", "where do {xs} live", "where does the {x} live", "where can you find {ax}", "{x} lives in", "{x} lives where", "where is the home of {ax}", "where does {ax} sleep", "in what does {ax} live", "what does {ax} live in", "where would i find {ax}", "{ax} lives in",
              "*what is the place {ax} lives in", "*{xs} live where", "where do i find {xs}"),
        unknown=tuple(_BEASTS), weight=1.2,
    ),
    Family(
        "diet", facts.DIET, ("A {x} eats {y}.", "It eats {y}.", "{y}.", "The {x} likes to eat {y}."),
        nps=("the food of {ax}", "{x} food", "the favourite food of {ax}", "*the usual food of {ax}", "the diet of {ax}", "food for {ax}"),
        asks=("what does {ax} eat", "what do {xs} eat", "what does the {x} eat", "what do you feed {ax}", "what should i feed {ax}", "{x} eats", "{x} eats what", "what does {ax} like to eat", "what food does {ax} eat", "what is the food of {ax}", "what can i give {ax} to eat", "what do {xs} like to eat",
              "*which food does {ax} eat", "*{xs} eat what", "what is eaten by {ax}", "what do i feed my {x}"),
        unknown=tuple(_BEASTS), weight=1.3,
    ),
    Family(
        "opposite", facts.OPPOSITE, ("The opposite of {x} is {y}.", "It is {y}.", "{y}.", "{y} is the opposite of {x}.", "The opposite is {y}."),
        nps=("the opposite of {x}", "the opposite word of {x}", "opposite of {x}", "opposite {x}", "{x} opposite", "the antonym of {x}", "antonym {x}", "the contrary of {x}", "*the word opposite to {x}", "*the opposite word for {x}", "the reverse of {x}", "a word that means the opposite of {x}", "the opposite of the word {x}"),
        asks=("what is the opposite to {x}", "what word is the opposite of {x}", "which word is the opposite of {x}", "not {x} but", "what's the opposite of being {x}", "if it is not {x} it is", "what is the contrary to {x}", "{x} is the opposite of", "the opposite of {x} is", "what do you call the opposite of {x}", "what is not {x}",
              "*which word means the opposite of {x}", "*{x} has which opposite", "which is the opposite of {x}", "{x} vs"),
        unknown=tuple(_WORDS), weight=4.0,
    ),
    Family(
        "synonym", facts.SYNONYM, ("Another word for {x} is {y}.", "It is {y}.", "{y}.", "A word like {x} is {y}."),
        nps=("another word for {x}", "a synonym of {x}", "a synonym for {x}", "synonym of {x}", "synonym {x}", "a word like {x}", "a word that means {x}", "{x} synonym", "*a different word for {x}", "another way to say {x}", "the synonym of {x}"),
        asks=("what other word means {x}", "what word means the same as {x}", "which word means {x}", "how else can i say {x}", "what is another way to say {x}", "how can i say {x} in another word", "which word is like {x}", "*what is the same as {x}", "*which other word can i use for {x}", "what else can you say for {x}"),
        unknown=tuple(_WORDS), weight=1.5,
    ),
    Family(
        "plural", facts.PLURAL, ("The plural of {x} is {y}.", "It is {y}.", "{y}.", "One {x}, many {y}."),
        nps=("the plural of {x}", "plural of {x}", "plural {x}", "{x} plural", "the plural form of {x}", "the plural of the word {x}", "*the plural for {x}", "*the word for more than one {x}", "the word for many {x}"),
        asks=("one {x} two", "one {x} many", "how do you say more than one {x}", "what is the word for two of {x}", "what do you call more than one {x}", "what is {x} in plural", "how do you write the plural of {x}", "what do you call two of {x}", "{x} in the plural", "what is {x} in the plural", "if there is more than one {x} what do you say",
              "*which plural does {x} have", "*how is the plural of {x}", "the plural of {x} is", "one {x} but two"),
        unknown=tuple(_WORDS), weight=1.6,
    ),
    Family(
        "past", facts.PAST, ("The past tense of {x} is {y}.", "It is {y}.", "{y}.", "Today {x}, yesterday {y}."),
        nps=("the past tense of {x}", "past tense of {x}", "past tense {x}", "{x} past tense", "the past of {x}", "past of {x}", "the past form of {x}", "the past tense of the verb {x}", "*the simple past of {x}", "the past tense of to {x}", "*the past tense for {x}", "{x} in the past tense"),
        asks=("today i {x} yesterday i", "how do you say {x} in the past", "what is {x} in the past", "{x} in past tense", "how do you write {x} in the past tense", "what does {x} become in the past", "which is the past form of {x}", "yesterday form of {x}", "*what is the verb {x} in the past", "*{x} becomes what in the past tense", "put {x} in the past tense"),
        unknown=tuple(_WORDS), weight=1.8,
    ),
    Family(
        "colour", facts.COLOUR, ("The colour of {x} is {y}.", "It is {y}.", "{y}.", "{x} is {y}.", "Usually it is {y}."),
        nps=("the colour of {x}", "the color of {x}", "colour of {x}", "color of {x}", "{bare} colour", "{bare} color", "colour {bare}", "*the usual colour of {x}", "*the colour that {x} has", "the colour of {bare}"),
        asks=("what colour is {x}", "what color is {x}", "which colour is {x}", "which colour has {x}", "what colour does {x} have", "what color does {x} have", "{bare} is what colour", "{x} is which color", "what's the color of {x}", "what colour are things like {x}", "which color does {x} have", "{x} has what colour", "of what colour is {x}",
              "*in what colour do you see {x}", "*{x} has which colour", "how does {x} look what colour", "what colour is {bare}", "what color is {bare}"),
        unknown=tuple(_THINGS), weight=2.0,
    ),
    Family(
        "mix", facts.MIX, ("{a} and {b} make {y}.", "You get {y}.", "{y}.", "That makes {y}."),
        nps=("the mix of {a} and {b}", "{a} and {b} mixed", "{a} plus {b}", "the colour of {a} and {b} together", "*the mixture of {a} and {b}"),
        asks=("what do {a} and {b} make", "what colour do {a} and {b} make", "mix {a} and {b}", "what do you get if you mix {a} and {b}", "what do you get when you mix {a} with {b}", "{a} + {b}", "{a} and {b} make", "which colour do you get from {a} and {b}", "what color is {a} and {b} together", "*what comes out if i mix {a} and {b}", "what happens if i mix {a} and {b}", "what color do {a} and {b} make", "mixing {a} and {b} gives"),
        weight=0.5,
    ),
    Family(
        "tool", facts.TOOL, ("You use {y} to {x}.", "You need {y}.", "{y}.", "Use {y} to {x}."),
        nps=("the tool to {x}", "a tool to {x}", "the thing to {x}", "a thing to {x} with", "the right tool to {x}", "*the thing people {x} with", "tool to {x}", "something to {x} with"),
        asks=("what do you use to {x}", "what do i use to {x}", "what do i need to {x}", "what do you {x} with", "which tool do you use to {x}", "with what do you {x}", "what can i use to {x}", "what is used to {x}", "which thing do you need to {x}", "what should i use to {x}", "what tool do i need to {x}", "to {x} you use", "to {x} i need", "what do people use to {x}", "{x} with what",
              "*with which tool can i {x}", "*what would you use to {x}", "which tool is for this: {x}", "what helps you to {x}", "what do you need if you want to {x}", "i want to {x} what do i need"),
        unknown=tuple(_ACTS), weight=2.2,
    ),
    Family(
        "job", facts.JOB, ("{ay} {x}.", "That is {y}.", "{y}.", "Somebody who {x} is {y}."),
        nps=("the person who {x}", "the name of a person who {x}", "a person who {x}", "somebody who {x}", "someone who {x}", "the job of a person who {x}", "*the name for somebody who {x}", "the one who {x}"),
        asks=("who {x}", "what do you call a person who {x}", "what is a person who {x} called", "which job is it if someone {x}", "who is it that {x}", "what do you call someone who {x}", "what is somebody called who {x}", "which person {x}", "what job does a person have who {x}", "*what is the job of someone who {x}", "*how do you call somebody who {x}", "what kind of worker {x}"),
        unknown=tuple(_WORKS), weight=1.8,
    ),
    Family(
        "kind", facts.KIND, ("{ax} is a kind of {y}.", "It is {ay}.", "{y}.", "That is {ay}."),
        nps=("the kind of thing {ax} is", "the group of {ax}", "*the sort of thing {ax} is", "the category of {ax}"),
        asks=("what kind of thing is {ax}", "what type of thing is {ax}", "what sort of thing is {ax}", "what group does {ax} belong to", "is {ax} an animal or a thing", "{x} is a kind of", "{x} is a type of", "{ax} is a kind of", "which group is {ax} in", "what is {ax}, a plant or an animal or what", "what category is {ax}", "{x} what kind of thing", "*which kind of thing is {ax}", "*{ax} belongs to which group", "what class of thing is {ax}", "{x}: what kind"),
        unknown=tuple(_BEASTS[:20]), weight=1.8,
    ),
    Family(
        "source", facts.SOURCE, ("{x} comes from {y}.", "It is made from {y}.", "{y}.", "It comes from {y}."),
        nps=("the source of {x}", "{x} source", "the thing {x} is made of", "*the origin of {x}", "the thing {x} comes from"),
        asks=("where does {x} come from", "what is {x} made of", "what is {x} made from", "from what is {x} made", "{x} is made of", "{x} is made from", "{x} comes from", "how do we get {x}", "where do we get {x} from", "what do you make {x} from", "what do people make {x} from", "{x} made of what", "what do you need to make {x} from", "*out of what is {x} made", "*{x} is made from what", "where do {x} come from", "what are {x} made of", "what gives us {x}"),
        unknown=tuple(["velvet", "plywood", "vodka", "kevlar", "nylon", "mustard", "gelatin", "pesto", "tequila", "linoleum", "marzipan", "plutonium", "granite", "tar"]), weight=1.4,
    ),
    Family(
        "body", facts.BODY, ("You use your {y} to {x}.", "{y}.", "With your {y}.", "People {x} with the {y}."),
        nps=("the part of the body you {x} with", "the body part to {x}", "the organ to {x}", "*the body part people {x} with"),
        asks=("what do you {x} with", "with what do you {x}", "which part of the body do you use to {x}", "what body part do you use to {x}", "which body part is used to {x}", "what do people {x} with", "we {x} with our", "you {x} with your", "what part of the body do we {x} with", "*which part of you is used to {x}", "what do we use to {x}", "what do we {x} with"),
        weight=0.9,
    ),
    Family(
        "definition", facts.DEFINITION, ("{ax} is {y}.", "It is {y}.", "That is {y}.", "{y}."),
        nps=("the meaning of {x}", "the meaning of the word {x}", "the definition of {x}", "meaning of {x}", "definition of {x}", "definition {x}", "{x} meaning", "{x} definition", "*the meaning of {ax}", "*a definition for {x}"),
        asks=("what is {ax}", "what's {ax}", "what does {x} mean", "what does the word {x} mean", "define {x}", "explain {x}", "explain what {ax} is", "what are {xs}", "tell me what {ax} is", "{ax} is", "what do you call {ax} and what is it", "what is meant by {x}", "what do people mean by {ax}", "can you explain {ax}", "describe {ax}", "i do not know what {ax} is", "do you know what {ax} is", "*could you define {x}", "*what exactly is {ax}", "what is a thing called {x}", "{x}: what is it", "whats {ax}", "explain the word {x}"),
        unknown=tuple(_WORDS), weight=3.2,
    ),
    Family(
        "sum", _SUMS, ("{a} plus {b} is {y}.", "{a} + {b} = {y}.", "{y}.", "It is {y}.", "The sum is {y}.", "That makes {y}."),
        nps=("{a}+{b}", "{a} + {b}", "{a} plus {b}", "{aw} plus {bw}", "the sum of {a} and {b}", "{a} and {b} together", "the total of {a} and {b}", "the result of {a} + {b}", "*the sum of {aw} and {bw}", "*the result of {a} plus {b}", "{a}+{b}=", "{a} + {b} =", "sum of {a} and {b}", "{aw} and {bw}", "the answer to {a}+{b}"),
        asks=("how much is {a} plus {b}", "how much is {a} + {b}", "how much is {a} and {b}", "add {a} and {b}", "what do {a} and {b} make", "what does {a} plus {b} make", "calculate {a} + {b}", "calculate {a} plus {b}", "what do you get if you add {a} and {b}", "{a} plus {b} equals", "{a} plus {b} is", "compute {a}+{b}", "how many are {a} and {b}", "add {b} to {a}", "what is {a} added to {b}", "solve {a}+{b}", "how much is {aw} plus {bw}", "i have {a} apples and get {b} more how many do i have", "*what does {a} + {b} equal", "*what comes out of {a} plus {b}", "{a}+{b} equals", "*work out {a} + {b}"),
        unknown=_BIG, weight=5.0,
    ),
    Family(
        "difference", _DIFFERENCES, ("{a} minus {b} is {y}.", "{a} - {b} = {y}.", "{y}.", "It is {y}.", "That leaves {y}."),
        nps=("{a}-{b}", "{a} - {b}", "{a} minus {b}", "{aw} minus {bw}", "the difference of {a} and {b}", "the difference between {a} and {b}", "the result of {a} - {b}", "*the result of {a} minus {b}", "{a}-{b}=", "{a} - {b} =", "{a} take away {b}", "{a} less {b}", "the answer to {a}-{b}"),
        asks=("how much is {a} minus {b}", "how much is {a} - {b}", "take {b} from {a}", "subtract {b} from {a}", "what do you get if you take {b} from {a}", "calculate {a} - {b}", "calculate {a} minus {b}", "{a} minus {b} equals", "{a} minus {b} is", "compute {a}-{b}", "what is left if you take {b} away from {a}", "i have {a} apples and eat {b} how many are left", "how much is {aw} minus {bw}", "solve {a}-{b}", "*what does {a} - {b} equal", "*what comes out of {a} minus {b}", "*work out {a} - {b}"),
        unknown=_BIG, weight=3.6,
    ),
    Family(
        "product", _PRODUCTS, ("{a} times {b} is {y}.", "{a} x {b} = {y}.", "{y}.", "It is {y}.", "The product is {y}."),
        nps=("{a}*{b}", "{a} * {b}", "{a}x{b}", "{a} x {b}", "{a} times {b}", "{aw} times {bw}", "the product of {a} and {b}", "{a} multiplied by {b}", "the result of {a} x {b}", "*the result of {a} times {b}", "{a}*{b}=", "{a} x {b} =", "the answer to {a}*{b}"),
        asks=("how much is {a} times {b}", "how much is {a} x {b}", "multiply {a} by {b}", "multiply {a} and {b}", "what do you get if you multiply {a} and {b}", "calculate {a} * {b}", "calculate {a} times {b}", "{a} times {b} equals", "{a} times {b} is", "compute {a}*{b}", "how much is {aw} times {bw}", "solve {a}*{b}", "*what does {a} times {b} equal", "*what comes out of {a} times {b}", "*work out {a} x {b}"),
        unknown=_BIG, weight=3.6,
    ),
    Family(
        "quotient", _QUOTIENTS, ("{a} divided by {b} is {y}.", "{a} / {b} = {y}.", "{y}.", "It is {y}."),
        nps=("{a}/{b}", "{a} / {b}", "{a} divided by {b}", "the result of {a} / {b}", "*the result of {a} divided by {b}", "{a} / {b} ="),
        asks=("how much is {a} divided by {b}", "divide {a} by {b}", "calculate {a} / {b}", "calculate {a} divided by {b}", "{a} divided by {b} is", "{a} divided by {b} equals", "how often does {b} go into {a}", "compute {a}/{b}", "what do you get if you divide {a} by {b}", "*what does {a} divided by {b} equal", "solve {a}/{b}"),
        unknown=_BIG, weight=1.6,
    ),
    Family(
        "after", _AFTER, ("After {x} comes {y}.", "It is {y}.", "{y}.", "{y} comes after {x}."),
        nps=("the day or month after {x}", "the one after {x}", "after {x}", "*the next one after {x}", "the name of what follows {x}"),
        asks=("what comes after {x}", "what follows {x}", "which one comes after {x}", "what is after {x}", "what day comes after {x}", "which day is after {x}", "which month comes after {x}", "what month follows {x}", "after {x} comes", "{x} is followed by", "what comes next after {x}", "if today is {x} what is tomorrow", "what month is after {x}", "what day is after {x}", "*{x} then what", "*which one follows {x}", "what is next after {x}"),
        weight=1.2,
    ),
    Family(
        "before", _BEFORE, ("Before {x} comes {y}.", "It is {y}.", "{y}.", "{y} comes before {x}."),
        nps=("the day or month before {x}", "the one before {x}", "before {x}", "*the one just before {x}"),
        asks=("what comes before {x}", "which one comes before {x}", "what is before {x}", "what day comes before {x}", "which day is before {x}", "which month comes before {x}", "before {x} comes", "what goes before {x}", "if today is {x} what was yesterday", "what month is before {x}", "what day is before {x}", "*{x} comes after what", "*which one is right before {x}"),
        weight=1.2,
    ),
    Family(
        "letter", _NEXT_LETTER, ("After {x} comes {y}.", "It is {y}.", "{y}.", "The next letter is {y}."),
        nps=("the letter after {x}", "the next letter after {x}", "letter after {x}", "*the letter that follows {x}", "the letter that comes after {x}"),
        asks=("what letter comes after {x}", "which letter comes after {x}", "which letter follows {x}", "what letter is after {x}", "after the letter {x} comes", "what is the letter next to {x}", "*what letter is next after {x}", "what comes after the letter {x}"),
        weight=0.9,
    ),
    Family(
        "number", _NEXT_NUMBER, ("After {x} comes {y}.", "It is {y}.", "{y}.", "The next number is {y}."),
        nps=("the number after {x}", "the next number after {x}", "number after {x}", "*the number that follows {x}", "the number that comes after {x}"),
        asks=("what number comes after {x}", "which number comes after {x}", "what number follows {x}", "what number is after {x}", "what comes after {x} when you count", "what is one more than {x}", "*what number is next after {x}", "what comes after the number {x}", "count on from {x}"),
        weight=0.8,
    ),
    *_general(),
)
# fmt: on
