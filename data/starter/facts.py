# ruff: noqa: E501  (tables read better unwrapped)
"""What the starter model is taught: tables of facts, written by hand for this project.

A family is one relation (country to capital, animal to sound). Its items map a subject to the answers that count
as right; the first is the one responses use, the others are accepted as well. How people ask is in `questions`.
"""


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """`subject=answer/also accepted; ...` as a dictionary."""
    rows = (row.strip() for row in text.replace("\n", " ").split(";"))
    pairs = (row.split("=") for row in rows if row)
    return {subject.strip(): tuple(a.strip() for a in answers.split("/")) for subject, answers in pairs}


CAPITAL = _table("""
France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Portugal=Lisbon; England=London; Scotland=Edinburgh;
Wales=Cardiff; Ireland=Dublin; the United Kingdom=London; Norway=Oslo; Sweden=Stockholm; Denmark=Copenhagen;
Finland=Helsinki; Iceland=Reykjavik; Poland=Warsaw; Austria=Vienna; Hungary=Budapest; Switzerland=Bern;
Belgium=Brussels; the Netherlands=Amsterdam; Greece=Athens; Turkey=Ankara; Russia=Moscow; Ukraine=Kyiv/Kiev;
Romania=Bucharest; Bulgaria=Sofia; Croatia=Zagreb; Serbia=Belgrade; Czechia=Prague; Slovakia=Bratislava;
Slovenia=Ljubljana; Estonia=Tallinn; Latvia=Riga; Lithuania=Vilnius; Albania=Tirana; Egypt=Cairo; Morocco=Rabat;
Algeria=Algiers; Tunisia=Tunis; Kenya=Nairobi; Ethiopia=Addis Ababa; Ghana=Accra; Nigeria=Abuja; Senegal=Dakar;
South Africa=Pretoria/Cape Town; Israel=Jerusalem; Iran=Tehran; Iraq=Baghdad; Saudi Arabia=Riyadh; Syria=Damascus;
Lebanon=Beirut; Jordan=Amman; India=New Delhi/Delhi; Pakistan=Islamabad; Nepal=Kathmandu; Bangladesh=Dhaka;
China=Beijing; Japan=Tokyo; South Korea=Seoul; North Korea=Pyongyang; Mongolia=Ulaanbaatar; Vietnam=Hanoi;
Thailand=Bangkok; Indonesia=Jakarta; Malaysia=Kuala Lumpur; the Philippines=Manila; Singapore=Singapore;
Australia=Canberra; New Zealand=Wellington; Canada=Ottawa; the United States=Washington; the USA=Washington;
America=Washington; Mexico=Mexico City; Cuba=Havana; Jamaica=Kingston; Brazil=Brasilia; Argentina=Buenos Aires;
Chile=Santiago; Peru=Lima; Colombia=Bogota; Venezuela=Caracas; Ecuador=Quito; Bolivia=La Paz/Sucre;
Uruguay=Montevideo; Paraguay=Asuncion; Afghanistan=Kabul; Georgia=Tbilisi; the UK=London; Luxembourg=Luxembourg
""")

CONTINENT = _table("""
France=Europe; Germany=Europe; Italy=Europe; Spain=Europe; Norway=Europe; Poland=Europe; Greece=Europe;
Portugal=Europe; Sweden=Europe; England=Europe; Ireland=Europe; Austria=Europe; Finland=Europe; Egypt=Africa;
Kenya=Africa; Morocco=Africa; Nigeria=Africa; Ghana=Africa; South Africa=Africa; Ethiopia=Africa; China=Asia;
Japan=Asia; India=Asia; Thailand=Asia; Vietnam=Asia; Nepal=Asia; Iran=Asia; South Korea=Asia; Pakistan=Asia;
Brazil=South America; Argentina=South America; Peru=South America; Chile=South America; Colombia=South America;
Canada=North America; Mexico=North America; the USA=North America; the United States=North America;
Cuba=North America; Australia=Australia/Oceania
""")

LANGUAGE = _table("""
France=French; Germany=German; Italy=Italian; Spain=Spanish; Portugal=Portuguese; England=English; Norway=Norwegian;
Sweden=Swedish; Denmark=Danish; Finland=Finnish; Poland=Polish; Greece=Greek; Turkey=Turkish; Russia=Russian;
China=Chinese/Mandarin; Japan=Japanese; South Korea=Korean; Egypt=Arabic; Brazil=Portuguese; Mexico=Spanish;
Argentina=Spanish; Australia=English; Austria=German; Hungary=Hungarian; Vietnam=Vietnamese; Thailand=Thai;
Iran=Persian/Farsi; Israel=Hebrew; the USA=English; the Netherlands=Dutch; Cuba=Spanish; Morocco=Arabic
""")

SOUND = _table("""
cow=moo; dog=woof/bark; cat=meow/miaow; duck=quack; pig=oink; sheep=baa; horse=neigh; rooster=cock-a-doodle-doo/crow;
hen=cluck; lion=roar; frog=ribbit/croak; bee=buzz; snake=hiss; owl=hoot/hoo; wolf=howl; mouse=squeak; donkey=hee-haw;
bird=tweet/chirp; goat=bleat/baa; crow=caw; turkey=gobble; goose=honk; bear=growl; cricket=chirp; pigeon=coo;
elephant=trumpet
""")

YOUNG = _table("""
cow=calf; dog=puppy/pup; cat=kitten; duck=duckling; pig=piglet; sheep=lamb; horse=foal; hen=chick; lion=cub;
frog=tadpole; goat=kid; deer=fawn; bear=cub; swan=cygnet; goose=gosling; kangaroo=joey; fox=cub/kit; wolf=pup/cub;
owl=owlet; eagle=eaglet; elephant=calf; whale=calf; tiger=cub; rabbit=kit/bunny; butterfly=caterpillar; seal=pup;
human=baby/child; chicken=chick; hare=leveret
""")

LEGS = _table("""
cow=4/four; dog=4/four; cat=4/four; horse=4/four; lion=4/four; sheep=4/four; pig=4/four; goat=4/four; mouse=4/four;
elephant=4/four; rabbit=4/four; frog=4/four; tiger=4/four; bird=2/two; chicken=2/two; duck=2/two; human=2/two;
person=2/two; owl=2/two; penguin=2/two; spider=8/eight; ant=6/six; bee=6/six; fly=6/six; beetle=6/six;
butterfly=6/six; octopus=8/eight; snake=0/no/zero; worm=0/no/zero; fish=0/no/zero; crab=10/ten; scorpion=8/eight;
insect=6/six; deer=4/four; bear=4/four; hen=2/two; table=4/four; chair=4/four
""")

HOME = _table("""
bee=hive; bird=nest; dog=kennel; horse=stable; pig=sty; spider=web; rabbit=burrow; fox=den; lion=den; fish=water/sea;
cow=barn/farm; bear=cave/den/forest; camel=desert; penguin=ice/antarctica; shark=sea/ocean; whale=ocean/sea; owl=tree/forest;
monkey=jungle/trees; ant=anthill/nest; mole=tunnel/underground; chicken=coop; frog=pond; kangaroo=australia;
polar bear=arctic/ice; squirrel=tree/trees
""")

DIET = _table("""
cow=grass; panda=bamboo; rabbit=carrots/grass; cat=fish/mice/meat; lion=meat; horse=hay/grass; squirrel=nuts;
monkey=bananas/fruit; bird=seeds/worms; sheep=grass; frog=flies/insects; spider=flies/insects; koala=leaves;
giraffe=leaves; mouse=cheese/grain; shark=fish; dog=meat/bones; anteater=ants; wolf=meat; tiger=meat; penguin=fish;
bee=nectar; hen=grain; goat=grass; seal=fish; caterpillar=leaves
""")

OPPOSITE = _table("""
hot=cold; big=small/little; up=down; left=right; fast=slow; good=bad; happy=sad/unhappy; old=young/new; new=old;
high=low; long=short; wet=dry; open=closed/shut/close; day=night; black=white; light=dark/heavy; heavy=light; hard=soft/easy;
easy=hard/difficult; loud=quiet; rich=poor; strong=weak; full=empty; early=late; true=false; clean=dirty; in=out; on=off;
over=under; near=far; first=last; inside=outside; love=hate; begin=end; start=stop/end/finish; win=lose; give=take;
buy=sell; push=pull; laugh=cry; wide=narrow; thick=thin; deep=shallow; sharp=blunt/dull; smooth=rough; sweet=sour/bitter;
tall=short; brave=afraid/cowardly; asleep=awake; alive=dead; above=below; before=after; always=never; more=less;
yes=no; cold=hot; small=big/large; large=small; dark=light; slow=fast; sad=happy; night=day; down=up; white=black;
young=old; dry=wet; short=long/tall; low=high; bad=good; quiet=loud; poor=rich; weak=strong; empty=full; late=early;
right=left/wrong; wrong=right; dirty=clean; out=in; off=on; far=near; last=first; hate=love; war=peace; friend=enemy;
north=south; east=west; summer=winter; polite=rude; safe=dangerous; noisy=quiet; beautiful=ugly; soft=hard
""")

SYNONYM = _table("""
big=large; small=little/tiny; happy=glad; sad=unhappy; fast=quick; begin=start; end=finish; smart=clever; angry=mad;
scared=afraid; tired=sleepy; sick=ill; rich=wealthy; quiet=silent; pretty=beautiful; hard=difficult; easy=simple;
near=close; talk=speak; shout=yell; jump=leap; present=gift; road=street; stone=rock; rug=carpet; fix=repair;
help=assist; buy=purchase; odd=strange; funny=amusing; brave=courageous; mistake=error; correct=right; shut=close
""")

PLURAL = _table("""
mouse=mice; child=children; man=men; woman=women; foot=feet; tooth=teeth; goose=geese; person=people; sheep=sheep;
fish=fish; leaf=leaves; wolf=wolves; knife=knives; wife=wives; life=lives; baby=babies; city=cities; box=boxes;
bus=buses; potato=potatoes; tomato=tomatoes; ox=oxen; deer=deer; cat=cats; dog=dogs; book=books; house=houses;
berry=berries; glass=glasses; half=halves; shelf=shelves; cactus=cacti; car=cars; tree=trees; hero=heroes
""")

PAST = _table("""
go=went; eat=ate; see=saw; run=ran; take=took; give=gave; come=came; make=made; write=wrote; drink=drank; sing=sang;
swim=swam; buy=bought; bring=brought; think=thought; teach=taught; catch=caught; fly=flew; grow=grew; know=knew;
speak=spoke; break=broke; drive=drove; sleep=slept; find=found; lose=lost; say=said; tell=told; have=had; do=did;
is=was; begin=began; fall=fell; feel=felt; keep=kept; leave=left; meet=met; sit=sat; stand=stood; win=won; ride=rode;
hear=heard; read=read; walk=walked; play=played; jump=jumped; cook=cooked
""")

COLOUR = _table("""
grass=green; the sky=blue; snow=white; blood=red; a banana=yellow; the sun=yellow; coal=black; a tomato=red;
a lemon=yellow; milk=white; chocolate=brown; a carrot=orange; a strawberry=red; a cherry=red; an orange=orange;
a frog=green; a leaf=green; a pumpkin=orange; a cucumber=green; the sea=blue; a crow=black; a flamingo=pink;
a polar bear=white; an elephant=grey/gray; a fire engine=red; a raven=black; sand=yellow; a swan=white; a cloud=white;
an aubergine=purple; a plum=purple; the night=black; broccoli=green; a stop sign=red; a pig=pink; ink=black/blue;
an emerald=green; a ruby=red; spinach=green; salt=white; sugar=white; a school bus=yellow; wood=brown; a fox=red/orange;
the ocean=blue; a lime=green; an eggplant=purple; a pea=green; lettuce=green; butter=yellow; cheese=yellow; gold=yellow/gold
""")

MIX = _table("""
blue|yellow=green; red|yellow=orange; red|blue=purple/violet; red|white=pink; black|white=grey/gray;
yellow|blue=green; yellow|red=orange; blue|red=purple/violet; white|red=pink; white|black=grey/gray
""")

TOOL = _table("""
cut paper=scissors; hammer a nail=a hammer; tighten a screw=a screwdriver; saw wood=a saw; sweep the floor=a broom;
eat soup=a spoon; write a letter=a pen; dig a hole=a shovel/a spade/shovel/spade; cut bread=a knife; brush your teeth=a toothbrush;
measure length=a ruler/tape measure; tell the time=a clock/a watch/watch; open a lock=a key; see the stars=a telescope;
boil water=a kettle/pot; bake a cake=an oven; fry an egg=a pan; dry your hair=a hair dryer/a towel/towel; sew a button=a needle;
take a photo=a camera; measure temperature=a thermometer; comb your hair=a comb; clean a carpet=a vacuum cleaner;
stay dry in the rain=an umbrella; find north=a compass; climb a roof=a ladder; catch a fish=a rod/net;
water the plants=a watering can; paint a wall=a brush; erase a pencil line=an eraser; iron a shirt=an iron;
turn a bolt=a wrench; cut the grass=a lawn mower; weigh flour=a scale/scales; see in the dark=a torch/a flashlight/flashlight;
chop wood=an axe; mop the floor=a mop; keep food cold=a fridge/refrigerator; wash clothes=a washing machine;
open a can=a can opener; call a friend=a phone; eat steak=a fork/knife; look at small things=a microscope; stir tea=a spoon
""")

JOB = _table("""
fixes pipes=a plumber; bakes bread=a baker; teaches children=a teacher; flies a plane=a pilot; puts out fires=a firefighter/fireman;
cuts hair=a hairdresser/barber; treats sick people=a doctor; treats sick animals=a vet; drives a bus=a driver/bus driver; grows food=a farmer;
fixes cars=a mechanic; cooks in a restaurant=a cook/chef; paints pictures=a painter/artist; catches fish=a fisherman; sews clothes=a tailor;
brings letters=a postman/mailman/mail carrier; writes books=a writer/author; builds houses=a builder; looks after teeth=a dentist; sells meat=a butcher;
travels to space=an astronaut; takes photos=a photographer; plays music=a musician; works with wood=a carpenter; catches thieves=a policeman/police;
designs houses=an architect; sells flowers=a florist; studies the stars=an astronomer; lends books=a librarian; repairs shoes=a cobbler/shoemaker;
leads a country=a president/prime minister/king; acts in films=an actor; digs coal=a miner; works with wires=an electrician
""")

KIND = _table("""
rose=flower; tulip=flower; daisy=flower; oak=tree; pine=tree; apple=fruit; banana=fruit; pear=fruit; grape=fruit;
carrot=vegetable; onion=vegetable; cabbage=vegetable; potato=vegetable; dog=animal/mammal; cow=animal/mammal; eagle=bird; sparrow=bird;
penguin=bird; owl=bird; salmon=fish; shark=fish; ant=insect; bee=insect; beetle=insect; snake=reptile; lizard=reptile;
whale=mammal; bat=mammal; hammer=tool; saw=tool; chair=furniture; table=furniture; violin=instrument; piano=instrument;
guitar=instrument; drum=instrument; gold=metal; iron=metal; silver=metal; copper=metal; car=vehicle; bus=vehicle;
truck=vehicle; football=sport/ball; tennis=sport; chess=game; shirt=clothing/clothes; coat=clothing/clothes; hat=clothing/clothes;
mars=planet; venus=planet; jupiter=planet; tea=drink; coffee=drink; juice=drink; bread=food; cheese=food;
frog=amphibian; spider=arachnid/animal; ruby=gem; strawberry=fruit; lemon=fruit; spinach=vegetable
""")

SOURCE = _table("""
milk=cows; wool=sheep; honey=bees; eggs=hens/chickens; paper=wood/trees; wine=grapes; cheese=milk; butter=milk; bread=flour;
flour=wheat; silk=silkworms; leather=cow skin/skin/cows; glass=sand; chocolate=cocoa beans/cocoa; raisins=grapes; cider=apples; bacon=pigs;
cotton=cotton plants/plants; chips=potatoes; ketchup=tomatoes; wood=trees; feathers=birds; ice=water; sugar=sugar cane/beets; rubber=rubber trees/trees;
yogurt=milk; tofu=soybeans/soy; pickles=cucumbers; bricks=clay; steel=iron; coins=metal; candles=wax; omelettes=eggs
""")

BODY = _table("""
see=eyes; hear=ears; smell=nose; taste=tongue; walk=legs/feet; bite=teeth; think=brain; breathe=lungs; talk=mouth/tongue;
touch=fingers/hands/skin; write=hand/hands; kick a ball=foot/feet; pump blood=heart; digest food=stomach; chew=teeth; wave=hand; run=legs;
kiss=lips; hold things=hands; clap=hands
""")

DEFINITION = _table("""
glacier=a slow river of ice; desert=a dry place with little rain; island=land with water all around it; volcano=a mountain that can throw out lava;
library=a place where you can borrow books; bakery=a shop that sells bread; hospital=a place where sick people get care;
museum=a place that shows old and beautiful things; orphan=a child without parents; dictionary=a book that explains words;
river=a long stream of fresh water; lake=a large body of water inside land; mountain=a very high hill; forest=a large area full of trees;
bridge=a road over water; castle=a big old house with strong walls; compass=a tool that shows where north is; planet=a big round body that moves around a star;
star=a huge ball of hot gas; moon=a body that moves around a planet; rainbow=an arc of colours in the sky; earthquake=a shaking of the ground;
shadow=a dark shape where light is blocked; triangle=a shape with three sides; square=a shape with four equal sides; circle=a perfectly round shape;
noun=a word that names a thing; verb=a word for an action; adjective=a word that describes a noun; vegetarian=a person who eats no meat;
twin=one of two children born together; novel=a long story in a book; recipe=a list of steps for cooking a dish; map=a drawing of a place from above;
calendar=a list of the days of the year; thermometer=a tool that measures temperature; telescope=a tool for looking at the stars;
magnet=a piece of metal that pulls iron; battery=a thing that stores electric power; fossil=the remains of an old animal or plant in stone;
king=a man who rules a country; orchestra=a large group of musicians; sculptor=an artist who makes statues; pyramid=a huge stone tomb in Egypt;
fable=a short story with a lesson; drought=a long time without rain; flood=too much water on dry land; storm=very bad weather with strong wind;
joke=a short story that makes people laugh; password=a secret word that opens an account; computer=a machine that works with data; robot=a machine that can do work alone;
wheel=a round thing that rolls; clock=a machine that shows the time; bicycle=a vehicle with two wheels and pedals; vaccine=a medicine that protects against a disease;
oasis=a green place in the desert; beach=the sandy land beside the sea; cave=a hole inside a mountain; valley=the low land between hills;
umbrella=a thing that keeps off the rain; mirror=a glass that shows your face; ocean=a very large sea; garden=a place where plants are grown;
atom=a very small piece of matter; gravity=the force that pulls things down; democracy=a rule of the people by votes; nurse=a person who cares for the sick
""")
